package db

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// Options configures a database. The zero value, and nil, are safe defaults.
type Options struct {
	// Types that may stand behind interfaces.
	Types TypeSet
	// ReadOnly opens a database that nobody has open and writes nothing. One
	// that was not closed cleanly shows what recovery would leave.
	ReadOnly bool
	// PageSize in bytes, a power of two from 4,096 to 65,536, used when the
	// file is created. 0 means 8,192.
	PageSize int
	// PageCacheBytes bounds the cache of index pages. 0 means 32 MiB.
	PageCacheBytes int64
	// PodCacheBytes bounds the cache of pods in memory. 0 means 64 MiB.
	PodCacheBytes int64
	// CheckpointBytes is the size of the log at which a checkpoint runs in the
	// background. 0 means 64 MiB; negative means never by itself.
	CheckpointBytes int64
	// PodTargetBytes is the encoded size to which pods are filled: small ones
	// make saves of scattered changes write less, large ones loads read faster.
	// A larger single object is a pod of its own. 0 means 8 KiB.
	PodTargetBytes int
	// Logger receives what an operator may want to know; nil is silent.
	Logger *slog.Logger

	// FS replaces the operating system's files in the project's own tests.
	FS vfs.FS
	// Now replaces the clock.
	Now func() time.Time
	// Rand replaces the source of ids, salts and secrets.
	Rand io.Reader
}

const (
	defaultPageCacheBytes = 32 << 20
	defaultPodCacheBytes  = 64 << 20
	defaultPodTarget      = 8 << 10
)

// withDefaults validates o and fills what is zero.
func (o *Options) withDefaults() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	if p := r.PageSize; p != 0 && (p < 4096 || p > 65536 || p&(p-1) != 0) {
		return r, fmt.Errorf("%w: Options.PageSize %d is not a power of two from 4096 to 65536", ErrInvalid, p)
	}
	if r.PageCacheBytes < 0 || r.PodCacheBytes < 0 {
		return r, fmt.Errorf("%w: negative cache size in Options", ErrInvalid)
	}
	if r.PageCacheBytes == 0 {
		r.PageCacheBytes = defaultPageCacheBytes
	}
	if r.PodCacheBytes == 0 {
		r.PodCacheBytes = defaultPodCacheBytes
	}
	if r.PodTargetBytes == 0 {
		r.PodTargetBytes = defaultPodTarget
	}
	if r.PodTargetBytes < 64 || r.PodTargetBytes > 1<<30 {
		return r, fmt.Errorf("%w: Options.PodTargetBytes %d is not from 64 to 2^30", ErrInvalid, r.PodTargetBytes)
	}
	if r.FS == nil {
		r.FS = vfs.OS()
	}
	return r, nil
}

func (o Options) engine(path string) mvcc.Options {
	return mvcc.Options{
		FS: o.FS, Path: path, ReadOnly: o.ReadOnly, PageSize: o.PageSize,
		PageCacheBytes: o.PageCacheBytes, PodCacheBytes: o.PodCacheBytes,
		CheckpointBytes: o.CheckpointBytes, Now: o.Now, Rand: o.Rand, Logger: o.Logger,
	}
}

func (o Options) podding(reg *podder.Registry, secret [32]byte) podder.Config {
	return podder.Config{
		Registry: reg, Secret: secret,
		TargetBytes: o.PodTargetBytes,
	}
}
