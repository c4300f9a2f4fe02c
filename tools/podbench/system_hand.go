package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// hand is a hand-written encoder, without identity, index or hash, for the one
// workload whose form it knows: the floor for everybody else.

var errHand = errors.New("there is a hand-written encoder only for rmtree")

func newHand(dir string, w workload) (system, error) {
	if _, ok := w.(*rmtree); !ok {
		return nil, errHand
	}
	return &snapshots{dir: dir, suffix: ".hand", encode: encodeHand, decode: decodeHand}, nil
}

func encodeHand(w io.Writer, vars map[string]any) error {
	buf := binary.AppendUvarint(nil, uint64(len(vars)))
	for name, value := range vars {
		l, ok := value.(*Strings)
		if !ok {
			return errHand
		}
		buf = appendHand(buf, name)
		buf = binary.AppendUvarint(buf, uint64(len(l.Items)))
		for _, s := range l.Items {
			buf = appendHand(buf, s)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		buf = buf[:0]
	}
	return nil
}

func appendHand(buf []byte, s string) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}

func decodeHand(r io.Reader) (map[string]any, error) {
	in := bufio.NewReader(r)
	vars := map[string]any{}
	n, err := binary.ReadUvarint(in)
	for ; n > 0 && err == nil; n-- {
		var name string
		if name, err = readHand(in); err != nil {
			break
		}
		var count uint64
		if count, err = binary.ReadUvarint(in); err != nil {
			break
		}
		l := &Strings{}
		for ; count > 0 && err == nil; count-- {
			var s string
			s, err = readHand(in)
			l.Items = append(l.Items, s)
		}
		vars[name] = l
	}
	return vars, err
}

func readHand(in *bufio.Reader) (string, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil || n > 1<<20 {
		return "", fmt.Errorf("string of %d bytes: %w", n, errors.Join(err, io.ErrUnexpectedEOF))
	}
	b := make([]byte, n)
	_, err = io.ReadFull(in, b)
	return string(b), err
}
