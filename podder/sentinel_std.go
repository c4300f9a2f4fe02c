package podder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// stdValues are the objects of the standard library that programs compare with by
// address, of the packages that this one needs anyway. time.UTC and time.Local are
// stored as locations. One that is here stays, since databases have its name.
func stdValues() map[string]any {
	return map[string]any{
		"io.EOF": io.EOF, "io.ErrUnexpectedEOF": io.ErrUnexpectedEOF, "io.ErrShortWrite": io.ErrShortWrite,
		"io.ErrShortBuffer": io.ErrShortBuffer, "io.ErrNoProgress": io.ErrNoProgress, "io.ErrClosedPipe": io.ErrClosedPipe,
		"context.Canceled": context.Canceled,
		"fs.ErrInvalid":    fs.ErrInvalid, "fs.ErrPermission": fs.ErrPermission, "fs.ErrExist": fs.ErrExist,
		"fs.ErrNotExist": fs.ErrNotExist, "fs.ErrClosed": fs.ErrClosed, "fs.SkipDir": fs.SkipDir, "fs.SkipAll": fs.SkipAll,
		"os.ErrNoDeadline": os.ErrNoDeadline, "os.ErrProcessDone": os.ErrProcessDone,
		"errors.ErrUnsupported": errors.ErrUnsupported,
		"strconv.ErrRange":      strconv.ErrRange, "strconv.ErrSyntax": strconv.ErrSyntax,
		"bytes.ErrTooLarge":          bytes.ErrTooLarge,
		"bufio.ErrInvalidUnreadByte": bufio.ErrInvalidUnreadByte, "bufio.ErrInvalidUnreadRune": bufio.ErrInvalidUnreadRune,
		"bufio.ErrBufferFull": bufio.ErrBufferFull, "bufio.ErrNegativeCount": bufio.ErrNegativeCount,
		"bufio.ErrTooLong": bufio.ErrTooLong, "bufio.ErrNegativeAdvance": bufio.ErrNegativeAdvance,
		"bufio.ErrAdvanceTooFar": bufio.ErrAdvanceTooFar, "bufio.ErrBadReadCount": bufio.ErrBadReadCount,
		"bufio.ErrFinalToken": bufio.ErrFinalToken,
	}
}

// addStdValues registers them. A release of Go that makes one a value of another
// sort, or two of them one object, would lose its name here: the test of this file
// finds that.
func (r *Registry) addStdValues() {
	for name, v := range stdValues() {
		if err := r.RegisterValue(name, v); err != nil {
			r.lost = append(r.lost, fmt.Sprint(err))
		}
	}
}
