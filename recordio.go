package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// recordLimit bounds one record of a master's event stream. mesos-go's own
// reader gives up at 4 MiB, which the offers of a large cluster can exceed.
const recordLimit = 64 << 20

// recordReader reads RecordIO: a decimal length, a newline, that many bytes.
type recordReader struct {
	r   *bufio.Reader
	buf []byte
}

func newRecordReader(r io.Reader) *recordReader {
	return &recordReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next record, valid until the following call, or io.EOF where
// the stream ends between records.
func (r *recordReader) next() ([]byte, error) {
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, 0, n)
	}
	r.buf = r.buf[:n]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read record of %d bytes: %w", n, err)
	}
	return r.buf, nil
}

func (r *recordReader) length() (int, error) {
	n := 0
	for digits := 0; ; digits++ {
		b, err := r.r.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && digits > 0:
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		case b == '\n' && digits > 0:
			return n, nil
		case b < '0' || b > '9':
			return 0, fmt.Errorf("read record length: %q is no digit", b)
		}
		if n = n*10 + int(b-'0'); n > recordLimit {
			return 0, fmt.Errorf("read record length: more than %d bytes", recordLimit)
		}
	}
}
