package wal

import (
	"errors"
	"io/fs"

	"github.com/poddb/poddb/internal/vfs"
)

// Size returns how many bytes the segment files in dir have, written ahead ones
// included. Segments that are removed meanwhile do not count.
func Size(fsys vfs.FS, dir string) (bytes int64, err error) {
	numbers, _, err := listDir(fsys, dir)
	if err != nil {
		return 0, err
	}
	for _, n := range numbers {
		switch info, err := fsys.Stat(segmentInfo{number: n}.path(dir)); {
		case err == nil:
			bytes += info.Size
		case !errors.Is(err, fs.ErrNotExist):
			return 0, err
		}
	}
	return bytes, nil
}
