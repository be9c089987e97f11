// Command chronos is a distributed, fault-tolerant cron.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stderr); err != nil {
		os.Exit(1)
	}
}

// run starts the program and returns when it has stopped.
func run(ctx context.Context, args []string, stderr io.Writer) error {
	fmt.Fprintln(stderr, "chronos: not assembled yet")
	return nil
}
