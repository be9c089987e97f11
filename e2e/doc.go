// Package e2e tests the built program from outside: it knows its options, its REST API, its
// records and its log, and none of its identifiers. It kills processes, cuts links, puts a
// load balancer before them and a browser on them.
//
//	go test ./e2e                          the short forms, about three minutes on two cores
//	go test -race ./e2e                    the same with a program that looks for data races
//	go test -run Crash ./e2e               one of them
//	GOCOVERDIR=/tmp/cover go test ./e2e    the program says which of its code has run
//
// The program is built once for each run of the tests, with -race if they have been, and with
// -cover if GOCOVERDIR names a directory. "go tool covdata percent -i=/tmp/cover" reads that,
// together with the directory of another package's tests (-args -test.gocoverdir=...) if given.
//
// Flags of the tests, after the package or -args:
//
//	-torture    the long forms of the tests whose names begin with TestTorture: hours, as
//	            go test -run Torture -timeout 3h ./e2e -torture -seed 7
//	-seed N     the seed of faults and delays, to which the machine adds its own chance;
//	            a test prints the one it has used, which 0 takes from the clock
//	-artifacts  go test's own: keeps the logs of all processes
//
// At most three tests run at a time, whatever the machine, since most of their time is waiting;
// -parallel says otherwise. Each has directories and ports of its own, and a path in ZooKeeper.
//
// They need what test.sh installs, and root for the image and the namespaces.
package e2e
