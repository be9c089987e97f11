module github.com/chronos-go/chronos

go 1.26.0

require (
	github.com/apache/cassandra-gocql-driver/v2 v2.1.2
	github.com/go-zookeeper/zk v1.0.4
	github.com/mesos/mesos-go v0.0.11
	github.com/pavlo-v-chernykh/keystore-go/v4 v4.5.0
	go.yaml.in/yaml/v3 v3.0.6
	golang.org/x/crypto v0.58.0
	software.sslmate.com/src/go-pkcs12 v0.7.4
)

require (
	github.com/gogo/protobuf v1.3.2 // indirect
	github.com/pquerna/ffjson v0.0.0-20190930134022-aa0246cd15f7 // indirect
	gopkg.in/inf.v0 v0.9.1 // indirect
)
