package fuzz

import (
	"errors"
	"fmt"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
)

// documented are the errors that a caller may test for and that damage or a
// failing disk may cause.
func documented() []error {
	return []error{
		dberr.ErrCorrupt, dberr.ErrNotDatabase, dberr.ErrTooNew, dberr.ErrLogMissing,
		dberr.ErrPoisoned, dberr.ErrCommitUnknown, dberr.ErrDiskFull,
	}
}

// mustBeTyped returns nil for nil and for a documented error of one line.
func mustBeTyped(err error) error {
	if err == nil {
		return nil
	}
	if d := (differs{}); errors.As(err, &d) {
		return err
	}
	if text := err.Error(); strings.Contains(text, "\n") || len(text) > 2000 {
		return fmt.Errorf("an error of more than a line: %w", err)
	}
	for _, want := range documented() {
		if errors.Is(err, want) {
			return nil
		}
	}
	return fmt.Errorf("an error of no type: %w", err)
}
