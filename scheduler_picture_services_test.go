//go:build services

package main

import (
	"testing"

	"github.com/chronos-go/chronos/internal/zktest"
)

func TestPicturesOfZooKeeperAreOfOneCommit(t *testing.T) {
	t.Parallel()
	hosts, root := zktest.Shared(t)
	st, _ := lead(t, hosts, root)
	picturesHold(t, st, inForm(120, 2000))
}
