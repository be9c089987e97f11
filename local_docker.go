package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// containerSandbox is where a container finds its working directory, as with Mesos.
const containerSandbox = "/mnt/mesos/sandbox"

// dockerCommand returns the docker run of a task, and the name of its container.
// Memory is a limit and cpus are shares, as in Mesos' docker containerizer.
func dockerCommand(box sandbox, task *mesos.TaskInfo) (*exec.Cmd, string, error) {
	c := task.Container
	if c.GetType() != mesos.ContainerInfo_DOCKER || c.Docker == nil {
		return nil, "", errors.New("a container of type MESOS needs Mesos; on this machine only DOCKER containers run")
	}
	path, err := exec.LookPath("docker")
	if err != nil {
		return nil, "", fmt.Errorf("docker is not installed here, but the job wants to run in the image %q", c.Docker.Image)
	}
	sum := sha256.Sum256([]byte(task.TaskID.Value))
	name := "chronos-" + hex.EncodeToString(sum[:12])
	need := taskAmounts(task)
	args := []string{
		"docker", "run", "--rm", "--name", name,
		"--cpu-shares", strconv.FormatInt(max(2, need.cpus*1024/1000), 10),
		"--memory", strconv.FormatInt(max(32, need.mem/1000)<<20, 10),
		"--volume", box.path("work") + ":" + containerSandbox,
	}
	env := os.Environ()
	for _, v := range append(task.GetCommand().GetEnvironment().GetVariables(), sandboxVariables()...) {
		args = append(args, "--env", v.Name)
		if clientVariable(v.Name) && v.Secret != nil {
			return nil, "", fmt.Errorf("variable %q can't be a secret: docker would take it for its own, and so it stands in a command line, which everyone can see", v.Name)
		} else if clientVariable(v.Name) {
			args[len(args)-1] += "=" + v.GetValue()
		} else {
			// Through the client's environment: everyone can see a command line.
			env = append(env, v.Name+"="+v.GetValue())
		}
	}
	options, err := dockerOptions(box, c)
	if err != nil {
		return nil, "", err
	}
	args = append(args, options...)
	return &exec.Cmd{Path: path, Args: append(args, dockerTail(c.Docker.Image, task.Command)...), Env: env}, name, nil
}

func sandboxVariables() []mesos.Environment_Variable {
	work := containerSandbox
	return []mesos.Environment_Variable{{Name: "MESOS_SANDBOX", Value: &work}, {Name: "MESOS_DIRECTORY", Value: &work}}
}

// clientVariable reports whether the docker client would take a variable as its own.
func clientVariable(name string) bool {
	switch strings.ToUpper(name) {
	case "PATH", "HOME", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "LD_PRELOAD", "LD_LIBRARY_PATH":
		return true
	}
	return strings.HasPrefix(name, "DOCKER_") || strings.HasPrefix(name, "GO")
}

func dockerOptions(box sandbox, c *mesos.ContainerInfo) ([]string, error) {
	var args []string
	network, err := dockerRunNetwork(c)
	if err != nil {
		return nil, err
	}
	args = append(args, "--network", network)
	for _, p := range c.Docker.PortMappings {
		args = append(args, "--publish", publish(p.HostPort, p.ContainerPort, p.GetProtocol()))
	}
	for _, n := range c.NetworkInfos {
		for _, p := range n.PortMappings {
			args = append(args, "--publish", publish(p.HostPort, p.ContainerPort, p.GetProtocol()))
		}
	}
	if c.Docker.GetPrivileged() {
		args = append(args, "--privileged")
	}
	if c.Docker.GetForcePullImage() {
		args = append(args, "--pull", "always")
	}
	if c.GetHostname() != "" {
		args = append(args, "--hostname", c.GetHostname())
	}
	if c.Docker.GetVolumeDriver() != "" {
		args = append(args, "--volume-driver", c.Docker.GetVolumeDriver())
	}
	for _, v := range c.Volumes {
		mount, err := dockerVolume(box, v)
		if err != nil {
			return nil, err
		}
		args = append(args, mount...)
	}
	for _, p := range c.Docker.Parameters {
		if p.Key == "name" || p.Key == "" {
			return nil, fmt.Errorf("docker parameter %q is not allowed", p.Key)
		}
		args = append(args, "--"+p.Key+"="+p.Value)
	}
	return args, nil
}

func publish(host, container uint32, protocol string) string {
	s := fmt.Sprintf("%d:%d", host, container)
	if protocol != "" {
		s += "/" + strings.ToLower(protocol)
	}
	return s
}

func dockerRunNetwork(c *mesos.ContainerInfo) (string, error) {
	switch network := c.Docker.GetNetwork(); network {
	case mesos.ContainerInfo_DockerInfo_USER:
		if len(c.NetworkInfos) != 1 || c.NetworkInfos[0].GetName() == "" {
			return "", errors.New("network USER needs exactly one network with a name")
		}
		return c.NetworkInfos[0].GetName(), nil
	default:
		return strings.ToLower(network.String()), nil
	}
}

func dockerVolume(box sandbox, v mesos.Volume) ([]string, error) {
	target := v.ContainerPath
	if !strings.HasPrefix(target, "/") {
		target = containerSandbox + "/" + target
	}
	readonly := v.Mode != nil && *v.Mode == mesos.RO
	if external := v.GetSource().GetDockerVolume(); external != nil {
		mount := "type=volume,src=" + external.Name + ",dst=" + target
		if external.GetDriver() != "" {
			mount += ",volume-driver=" + external.GetDriver()
		}
		if readonly {
			mount += ",readonly"
		}
		for _, o := range external.GetDriverOptions().GetParameter() {
			mount += ",volume-opt=" + o.Key + "=" + o.Value
		}
		return []string{"--mount", mount}, nil
	}
	host := v.GetHostPath()
	if host == "" {
		return nil, fmt.Errorf("volume %q needs a host path or an external volume", v.ContainerPath)
	}
	if !filepath.IsAbs(host) {
		host = filepath.Join(box.path("work"), host)
	}
	mode := "rw"
	if readonly {
		mode = "ro"
	}
	return []string{"--volume", host + ":" + target + ":" + mode}, nil
}

// dockerTail returns the image and what runs in it: a shell in place of the image's
// entry point, or the arguments for the entry point.
func dockerTail(image string, command *mesos.CommandInfo) []string {
	if command == nil || command.Value == nil && len(command.Arguments) == 0 {
		return []string{image}
	}
	if command.Value != nil && (command.Shell == nil || *command.Shell) {
		return []string{"--entrypoint", "/bin/sh", image, "-c", *command.Value}
	}
	tail := []string{image}
	if command.Value != nil {
		tail = append(tail, *command.Value)
	}
	return slices.Concat(tail, command.Arguments)
}
