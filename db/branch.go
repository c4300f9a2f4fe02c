package db

import (
	"context"

	"github.com/poddb/poddb/mvcc"
)

// BranchInfo describes a branch.
type BranchInfo = mvcc.Branch

// Tag is a name for a version.
type Tag = mvcc.Tag

// Branch creates a branch at a version of any branch; 0 is the empty database. What
// is committed to it, nobody else sees, and it sees nothing that is committed elsewhere
// later. It copies no data. Retention keeps the version. A name has 1 to 200 bytes,
// the first not zero; one that is taken is ErrBranchExists.
//
// Branches may begin on branches. Every dozen or so of forks deep a hidden commit copies
// which pods the nearest forks changed; then Head is that commit's version.
func (d *DB) Branch(ctx context.Context, name string, at Version) error {
	return d.named(d.store.CreateBranch(ctx, name, at))
}

// Branches lists the branches by name.
func (d *DB) Branches(ctx context.Context) ([]BranchInfo, error) {
	list, err := d.store.Branches(ctx)
	return list, d.named(err)
}

// DeleteBranch removes a branch; main is refused with ErrInvalid. Its name is free
// again. Branches that began on it go on, and a Namespace of it can no longer save
// (ErrNotFound). Its versions can be read until the next Prune, which removes
// them whatever its policy, but for those with tags, open snapshots, or branches that
// begin there. If it had commits, the newest of them and the version that it began at
// stay, and what only they hold stays in the file. To have that back too, bring the branch to
// where it began before it is deleted (RevertTo its BranchInfo.Fork), Collect it, and commit
// some small variable on it.
func (d *DB) DeleteBranch(ctx context.Context, name string) error {
	return d.named(d.store.DeleteBranch(ctx, name))
}

// Tag names a version. Retention keeps it as long as it has a tag. A name has 1 to
// 200 bytes, the first not zero; one that names another version is ErrTagExists.
func (d *DB) Tag(ctx context.Context, name string, v Version) error {
	return d.named(d.store.SetTag(ctx, name, v))
}

// Tags lists the tags by name.
func (d *DB) Tags(ctx context.Context) ([]Tag, error) {
	list, err := d.store.Tags(ctx)
	return list, d.named(err)
}

// DeleteTag removes a tag; the version is then kept or not as any other.
func (d *DB) DeleteTag(ctx context.Context, name string) error {
	return d.named(d.store.DeleteTag(ctx, name))
}

// AtTag opens the version that a tag names.
func (d *DB) AtTag(ctx context.Context, name string) (*Snapshot, error) {
	v, err := d.store.TagVersion(ctx, name)
	if err != nil {
		return nil, d.named(err)
	}
	return d.At(ctx, v)
}
