package vfs

import (
	"errors"
	"io/fs"

	"github.com/poddb/poddb/internal/dberr"
)

// ErrCrashed is returned by every operation of a MemFS at and after the one
// given to CrashAt.
var ErrCrashed = errors.New("file system crashed")

// placedError is an error of one file that also matches conditions of this
// package and of dberr.
type placedError struct {
	op, name string
	text     string
	cause    error // from the operating system or the test, may be nil
	is       []error
}

func (e *placedError) Error() string { return e.op + " " + e.name + ": " + e.text }

func (e *placedError) Unwrap() error { return e.cause }

func (e *placedError) Is(target error) bool {
	for _, err := range e.is {
		if err == target {
			return true
		}
	}
	return false
}

func diskFull(op, name string, cause error) error {
	return &placedError{op: op, name: name, text: ErrDiskFull.Error(), cause: cause,
		is: []error{ErrDiskFull, dberr.ErrDiskFull}}
}

func locked(name string, cause error) error {
	return &placedError{op: "lock", name: name, text: ErrLocked.Error(), cause: cause,
		is: []error{ErrLocked, dberr.ErrLocked}}
}

// absent turns the error of a missing name into none.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// pathError gives err its place, and turns any form of "disk full" into one
// that callers can test for.
func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	var placed *placedError
	switch {
	case errors.As(err, &placed):
		return err
	case isDiskFull(err) || errors.Is(err, ErrDiskFull) || errors.Is(err, dberr.ErrDiskFull):
		return diskFull(op, name, err)
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
