package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// A file that is rewritten at once, and how often a larger one is.
const (
	smallFile  = 64 << 20
	largeEvery = time.Hour
)

// Scrub leaves nothing in SQLite's files of what was deleted: it writes the file anew and empties the write-ahead log. Less does not do it: a page keeps
// copies of rows that have moved to another one, with secure_delete too. clean is false if it could not be done now, because somebody reads or writes, or
// because a large file was rewritten less than an hour ago. Other writers of this process wait meanwhile. On PostgreSQL it does nothing: what is dead there
// is the vacuum's.
func Scrub(ctx context.Context, d *DB) (clean bool, err error) {
	leave, err := d.use()
	if err != nil {
		return false, err
	}
	defer leave()
	if d.engine.postgres {
		return true, nil
	}
	free, err := d.enter(ctx)
	if err != nil {
		return false, err
	}
	defer free()
	conn, err := d.conn(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	now := d.cfg.Clock()
	if large, err := isLarge(ctx, conn); err != nil || large && now.Sub(d.scrubbed) < largeEvery && !now.Before(d.scrubbed) {
		return false, classify(err)
	}
	if empty, err := emptyLog(ctx, conn); err != nil || !empty { // before the cost of the rest
		return false, err
	}
	if _, err := conn.ExecContext(ctx, "VACUUM"); err != nil {
		if err = classify(err); errors.Is(err, ErrAgain) {
			return false, nil
		}
		return false, err
	}
	d.scrubbed = now
	return emptyLog(ctx, conn)
}

func isLarge(ctx context.Context, conn *sql.Conn) (bool, error) {
	var pages, size int64
	err := errors.Join(conn.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages), conn.QueryRowContext(ctx, "PRAGMA page_size").Scan(&size))
	return pages*size > smallFile, err
}

// emptyLog moves what is in the write-ahead log to where it belongs and truncates it, unless somebody reads from it: whoever waited for him here would have
// all writers wait.
func emptyLog(ctx context.Context, conn *sql.Conn) (empty bool, err error) {
	var timeout int
	if err := conn.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&timeout); err != nil {
		return false, classify(err)
	}
	defer func() { // it is the host's connection
		if _, lost := conn.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA busy_timeout = %d", timeout)); lost != nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}()
	if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return false, classify(err)
	}
	var busy, frames, moved int
	err = classify(conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved))
	if errors.Is(err, ErrAgain) {
		return false, nil
	}
	return err == nil && busy == 0, err
}
