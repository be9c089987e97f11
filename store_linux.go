package main

import (
	"os"
	"syscall"
)

// allocate makes the file system reserve space for a part of a file, which keeps its size.
func allocate(f *os.File, offset, length int64) error {
	const keepSize = 1 // FALLOC_FL_KEEP_SIZE of <linux/falloc.h>
	for {
		if err := syscall.Fallocate(int(f.Fd()), keepSize, offset, length); err != syscall.EINTR {
			return err
		}
	}
}
