package main

import (
	"net"
	"os"
	"strconv"
)

// defaultPort is what plain HTTP listens on when nothing says otherwise.
const defaultPort = 8080

// listenPort is the port of plain HTTP: --http_port if given, else PORT0 where it is a
// port of the container itself. Marathon in bridge mode also sets PORT_8080,
// and then PORT0 is a port of the agent that leads to our 8080.
func (f *flags) listenPort(environ func(string) (string, bool)) int {
	if f.explicit("http_port") {
		return f.httpPort
	}
	if _, bridged := environ("PORT_" + strconv.Itoa(defaultPort)); !bridged {
		if port := portVariable(environ, "PORT0"); port > 0 {
			return port
		}
	}
	return f.httpPort
}

// listenHost is the address of plain HTTP, "" for all. Whoever reaches the
// port runs commands on this machine in local mode, so that stays on loopback
// unless another address, or "" for all, is asked for.
func (f *flags) listenHost() string {
	if f.httpAddress == "" && f.local() && !f.explicit("http_address") {
		return "127.0.0.1"
	}
	return f.httpAddress
}

// httpsHost is the address of TLS. The rule is that of plain HTTP.
func (f *flags) httpsHost() string {
	if f.httpsAddress == "" && f.local() && !f.explicit("https_address") {
		return "127.0.0.1"
	}
	return f.httpsAddress
}

// listenAddress is what to give to net.Listen for plain HTTP.
func (f *flags) listenAddress(environ func(string) (string, bool)) string {
	return net.JoinHostPort(f.listenHost(), strconv.Itoa(f.listenPort(environ)))
}

// advertised is the host:port under which the other instances and Mesos reach a
// listener that is bound to port.
func (f *flags) advertised(environ func(string) (string, bool), port int) string {
	switch mapped := portVariable(environ, "PORT_"+strconv.Itoa(port)); {
	case f.advertisePort > 0:
		port = f.advertisePort
	case mapped > 0:
		port = mapped
	}
	host, _ := f.advertisedHost(environ)
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// advertisedHost also reports whether the name was only guessed from the
// machine's own, which inside a container is useless to others.
func (f *flags) advertisedHost(environ func(string) (string, bool)) (host string, guessed bool) {
	if f.hostname != "" {
		return f.hostname, false
	}
	if host, _ := environ("HOST"); host != "" {
		return host, false
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	return host, true
}

// portVariable is the port in a variable, or 0.
func portVariable(environ func(string) (string, bool), name string) int {
	s, _ := environ(name)
	if checkPort(s) != nil {
		return 0
	}
	port, _ := strconv.Atoi(s)
	return port
}
