package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// sqliteKV is SQLite in WAL mode with synchronous=FULL, by the driver without
// cgo. One connection writes, so that nobody waits by polling; others read. The
// key is a rowid: what SQLite finds fastest.
type sqliteKV struct {
	write, read              *sql.DB
	begin, look, set, commit *sql.Stmt
	reads                    *sql.Stmt
	size                     int
	turn                     chan struct{} // who has it uses the writing connection
}

func newSqliteKV(ctx context.Context, s kvSpec) (kvStore, error) {
	dsn := fmt.Sprintf("file:%s?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_pragma=cache_size(-%d)",
		filepath.Join(s.Dir, "kv.sqlite"), s.Cache>>10)
	k := &sqliteKV{size: s.Size, turn: make(chan struct{}, 1)}
	var err error
	if k.write, err = sql.Open("sqlite", dsn); err != nil {
		return nil, err
	}
	k.write.SetMaxOpenConns(1)
	if k.read, err = sql.Open("sqlite", dsn); err != nil {
		return nil, err
	}
	k.read.SetMaxIdleConns(16)
	if _, err := k.write.ExecContext(ctx, "CREATE TABLE kv(k INTEGER PRIMARY KEY, v BLOB NOT NULL)"); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		in   *sql.DB
		to   **sql.Stmt
		text string
	}{
		{k.write, &k.begin, "BEGIN IMMEDIATE"}, {k.write, &k.look, "SELECT v FROM kv WHERE k=?"},
		{k.write, &k.set, "UPDATE kv SET v=? WHERE k=?"}, {k.write, &k.commit, "COMMIT"},
		{k.read, &k.reads, "SELECT v FROM kv WHERE k=?"},
	} {
		if *p.to, err = p.in.PrepareContext(ctx, p.text); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func (k *sqliteKV) load(ctx context.Context, n int) error {
	for from := 0; from < n; from += loadBatch {
		tx, err := k.write.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		put, err := tx.PrepareContext(ctx, "INSERT INTO kv VALUES(?, ?)")
		for i := from; i < min(n, from+loadBatch) && err == nil; i++ {
			_, err = put.ExecContext(ctx, i, kvBody(nil, 0, noiseOf(i, k.size-8)))
		}
		if err != nil {
			tx.Rollback()
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	_, err := k.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

func (k *sqliteKV) change(ctx context.Context, key int, noise []byte) error {
	k.turn <- struct{}{}
	defer func() { <-k.turn }()
	if _, err := k.begin.ExecContext(ctx); err != nil {
		return err
	}
	n, err := counterOf(ctx, k.look, key)
	if err != nil {
		return err
	}
	if _, err := k.set.ExecContext(ctx, kvBody(nil, n+1, noise), key); err != nil {
		return err
	}
	_, err = k.commit.ExecContext(ctx)
	return err
}

func counterOf(ctx context.Context, q *sql.Stmt, key int) (uint64, error) {
	var b sql.RawBytes
	rows, err := q.QueryContext(ctx, key)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	if !rows.Next() {
		return 0, fmt.Errorf("no object %d (%v)", key, rows.Err())
	}
	if err := rows.Scan(&b); err != nil {
		return 0, err
	}
	return kvCounter(b)
}

func (k *sqliteKV) get(ctx context.Context, key int) (uint64, error) {
	return counterOf(ctx, k.reads, key)
}

func (k *sqliteKV) close() error {
	if err := k.read.Close(); err != nil {
		return err
	}
	return k.write.Close()
}
