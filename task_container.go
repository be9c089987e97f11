package main

import (
	"slices"

	"github.com/mesos/mesos-go/api/v1/lib"
)

// containerInfo is the container of a task, or nil where c is.
func containerInfo(c *Container) *mesos.ContainerInfo {
	if c == nil {
		return nil
	}
	info := &mesos.ContainerInfo{
		Type:         mesos.ContainerInfo_DOCKER.Enum(),
		NetworkInfos: networkInfos(c),
		Volumes:      volumes(c.Volumes),
	}
	if c.Type == "MESOS" {
		info.Type = mesos.ContainerInfo_MESOS.Enum()
		info.Mesos = &mesos.ContainerInfo_MesosInfo{Image: &mesos.Image{
			Type:   mesos.Image_DOCKER.Enum(),
			Docker: &mesos.Image_Docker{Name: c.Image},
			Cached: new(!c.ForcePullImage),
		}}
		return info
	}
	info.Docker = &mesos.ContainerInfo_DockerInfo{
		Image:          c.Image,
		Network:        dockerNetwork(c.Network).Enum(),
		Parameters:     parameters(c.Parameters),
		ForcePullImage: new(c.ForcePullImage),
	}
	return info
}

func dockerNetwork(name string) mesos.ContainerInfo_DockerInfo_Network {
	switch name {
	case "BRIDGE":
		return mesos.ContainerInfo_DockerInfo_BRIDGE
	case "USER":
		return mesos.ContainerInfo_DockerInfo_USER
	}
	return mesos.ContainerInfo_DockerInfo_HOST
}

// networkInfos names the networks that a container joins. A networkName that
// networkInfos repeats is sent once: Docker takes a single network. Unlike in
// 3.0 port mappings are sent.
func networkInfos(c *Container) []mesos.NetworkInfo {
	var infos []mesos.NetworkInfo
	named := slices.ContainsFunc(c.NetworkInfos, func(n NetworkInfo) bool { return n.Name == c.NetworkName })
	if c.NetworkName != "" && !named {
		infos = append(infos, mesos.NetworkInfo{Name: new(c.NetworkName)})
	}
	for _, n := range c.NetworkInfos {
		info := mesos.NetworkInfo{Name: new(n.Name), Labels: &mesos.Labels{}}
		for _, l := range n.Labels {
			info.Labels.Labels = append(info.Labels.Labels, mesos.Label{Key: l.Key, Value: new(l.Value)})
		}
		for _, p := range n.PortMappings {
			info.PortMappings = append(info.PortMappings, mesos.NetworkInfo_PortMapping{
				HostPort:      uint32(p.HostPort),
				ContainerPort: uint32(p.ContainerPort),
				Protocol:      nonEmpty(p.Protocol),
			})
		}
		infos = append(infos, info)
	}
	return infos
}

// volumes gives every volume a mode: Mesos requires one, and a volume without
// brought the JVM versions' driver down (#569).
func volumes(vs []Volume) []mesos.Volume {
	var out []mesos.Volume
	for _, v := range vs {
		volume := mesos.Volume{
			Mode:          mesos.RW.Enum(),
			ContainerPath: v.ContainerPath,
			HostPath:      nonEmpty(v.HostPath),
		}
		if v.Mode == "RO" {
			volume.Mode = mesos.RO.Enum()
		}
		if e := v.External; e != nil {
			volume.Source = &mesos.Volume_Source{
				Type: mesos.Volume_Source_DOCKER_VOLUME,
				DockerVolume: &mesos.Volume_Source_DockerVolume{
					Driver:        nonEmpty(e.Provider),
					Name:          e.Name,
					DriverOptions: &mesos.Parameters{Parameter: parameters(e.Options)},
				},
			}
		}
		out = append(out, volume)
	}
	return out
}

func parameters(labels []Label) []mesos.Parameter {
	var out []mesos.Parameter
	for _, l := range labels {
		out = append(out, mesos.Parameter{Key: l.Key, Value: l.Value})
	}
	return out
}
