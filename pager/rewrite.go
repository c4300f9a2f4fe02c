package pager

import (
	"context"
	"fmt"
)

// Sync makes durable what extents have flushed. If it fails nothing is written
// to the file any more (dberr.ErrPoisoned).
func (p *Pager) Sync() error { return p.syncData() }

// Rewrite reads records, checks them, writes the same bytes to the same places
// and makes them durable. Recovery does that with what it has read and is going
// to rely on: after a failed sync the system may show bytes that the disk does
// not have, and only a new write makes it try again.
func (p *Pager) Rewrite(ctx context.Context, places []Place) error {
	if err := p.ready(); err != nil {
		return err
	}
	for _, pl := range places {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := p.readRecord(nil, pl)
		if err != nil {
			return err
		}
		if _, err := p.file.WriteAt(b, int64(pl.Off)); err != nil {
			return fmt.Errorf("writing %s at byte %d: %w", p.path, pl.Off, err)
		}
	}
	return p.syncData()
}
