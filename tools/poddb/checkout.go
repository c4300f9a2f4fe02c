package main

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/db"
)

// checkout brings a branch back to an earlier version of it, by a new commit.
func checkout(ctx context.Context, e *env, args []string) error {
	if e.dryRun {
		return checkoutDry(ctx, e, args)
	}
	var head, to, at db.Version
	err := rename(ctx, args[0], func(d *db.DB) (err error) {
		if to, err = versionOf(ctx, d, args[1]); err != nil {
			return err
		}
		if head, err = d.Head(ctx, e.branch); err != nil {
			return err
		}
		at, err = d.RevertTo(ctx, to, db.RevertOptions{Branch: e.branch, Message: e.message, Author: e.author})
		return err
	})
	if err != nil {
		return err
	}
	if e.json {
		return printJSON(e.out, struct {
			Version, To db.Version
			Branch      string
			Committed   bool
		}{at, to, e.branch, at != head})
	}
	if at == head {
		_, err = fmt.Fprintf(e.out, "%s: %s is as in version %d already\n", args[0], e.branch, to)
	} else {
		_, err = fmt.Fprintf(e.out, "%s: version %d of %s is as version %d was\n", args[0], at, e.branch, to)
	}
	return err
}

// checkoutDry shows what it would change; it only reads.
func checkoutDry(ctx context.Context, e *env, args []string) error {
	d, err := open(ctx, args[0])
	if err != nil {
		return err
	}
	defer d.Close()
	to, err := versionOf(ctx, d, args[1])
	if err != nil {
		return err
	}
	head, err := d.Head(ctx, e.branch)
	if err != nil {
		return err
	}
	return printDiff(ctx, e, d, head, to)
}
