package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// listen opens the listeners that the flags ask for, plain and TLS, and records how to reach
// this instance. On an error none is left open.
func (d *daemon) listen(environ func(string) (string, bool)) (err error) {
	defer func() {
		if err != nil {
			d.closeListeners()
		}
	}()
	f := d.flags
	keystore := tlsOptions{Path: f.sslKeystorePath, Password: f.sslKeystorePassword}
	secure := keystore.enabled()
	if f.sslKeystorePath != "" && !secure {
		d.log.Warn("TLS is off: --ssl_keystore_path is given without --ssl_keystore_password and is not a PEM file", "path", f.sslKeystorePath)
	}
	if f.disableHTTP && !secure {
		return errors.New("invalid configuration: neither HTTP nor HTTPS support has been configured: " +
			"--disable_http needs --ssl_keystore_path, with --ssl_keystore_password unless that is a PEM file")
	}
	if !f.disableHTTP {
		port, err := d.listenOn("--http_port", f.listenAddress(environ))
		if err != nil {
			return err
		}
		d.self = instance{Scheme: "http", Version: version, Knows: knownHere}
		d.id = f.advertised(environ, port)
	}
	if !secure {
		return nil
	}
	if d.certificates, err = newCertificates(keystore, d.log); err != nil {
		return fmt.Errorf("--ssl_keystore_path: %w", err)
	}
	if d.httpsPort, err = d.listenOn("--https_port", net.JoinHostPort(f.httpsHost(), strconv.Itoa(f.httpsPort))); err != nil {
		return err
	}
	last := len(d.listeners) - 1
	d.listeners[last] = tls.NewListener(d.listeners[last], d.certificates.config())
	d.log.Info("TLS is on", "address", d.listeners[last].Addr().String(), "expires", d.certificates.expires())
	if !f.disableHTTP {
		return nil
	}
	// Plain HTTP is off: the id names the TLS port, and the instance's node says so. JVM versions
	// still named a plain port on which nobody listened.
	d.id = f.advertised(environ, d.httpsPort)
	_, port, err := net.SplitHostPort(d.id)
	if err != nil {
		return err
	}
	d.self = instance{Scheme: "https", Version: version, Knows: knownHere}
	d.self.Port, err = strconv.Atoi(port)
	return err
}

// listenOn opens one listener and returns its port.
func (d *daemon) listenOn(option, address string) (port int, err error) {
	l, err := outlast(syscall.EADDRINUSE, func() (net.Listener, error) { return net.Listen("tcp", address) })
	if err != nil {
		return 0, adviseListen(option, address, err)
	}
	d.listeners = append(d.listeners, l)
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (d *daemon) closeListeners() {
	for _, l := range d.listeners {
		l.Close()
	}
}
