package drain

import (
	"context"
	"database/sql"
	"encoding/json"
)

// FileFloor is the floor's table on SQLite, in a pool of one connection: writers take turns anyway.
type FileFloor struct {
	*sql.DB
	finish, claim *sql.Stmt
}

const (
	fileTables = `CREATE TABLE job (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, payload TEXT NOT NULL, state INTEGER NOT NULL DEFAULT 0, done_at INTEGER);
		CREATE INDEX job_ready ON job (id) WHERE state = 0`
	fileFill = `WITH RECURSIVE i (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < ?) INSERT INTO job (kind, payload)
		SELECT 'welcome', '` + letter + `' FROM i`
	fileFinish = `UPDATE job SET state = 2, done_at = unixepoch() WHERE id IN (SELECT value FROM json_each(?))`
	fileClaim  = `UPDATE job SET state = 1 WHERE id IN (SELECT id FROM job WHERE state = 0 ORDER BY id LIMIT ?) RETURNING id, payload`
)

// Create makes the table, and prepares the statements on it; they end with the pool.
func (f *FileFloor) Create(ctx context.Context) error {
	_, err := f.ExecContext(ctx, fileTables)
	if err == nil {
		f.finish, err = f.PrepareContext(ctx, fileFinish)
	}
	if err == nil {
		f.claim, err = f.PrepareContext(ctx, fileClaim)
	}
	return err
}

// Fill adds n jobs.
func (f *FileFloor) Fill(ctx context.Context, n int) error {
	if n <= 0 {
		return nil
	}
	_, err := f.ExecContext(ctx, fileFill, n)
	return err
}

// Left counts what is not finished.
func (f *FileFloor) Left(ctx context.Context) (n int, err error) {
	err = f.QueryRowContext(ctx, left).Scan(&n)
	return n, err
}

// Turn finishes the jobs that it returned last and claims the next, in one transaction.
func (f *FileFloor) Turn(ctx context.Context, last []int64) (next []int64, err error) {
	tx, err := f.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing
	if err := f.finished(ctx, tx.StmtContext(ctx, f.finish), last); err != nil {
		return nil, err
	}
	rows, err := tx.StmtContext(ctx, f.claim).QueryContext(ctx, Batch)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var payload sql.RawBytes // somebody would send it
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id, &payload); err != nil {
			return nil, err
		}
		next = append(next, id)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return next, tx.Commit()
}

// Finish finishes the jobs that Turn returned last.
func (f *FileFloor) Finish(ctx context.Context, last []int64) error {
	return f.finished(ctx, f.finish, last)
}

func (f *FileFloor) finished(ctx context.Context, finish *sql.Stmt, last []int64) error {
	list, err := json.Marshal(last)
	if err == nil && len(last) > 0 {
		_, err = finish.ExecContext(ctx, string(list))
	}
	return err
}

// Books is like the others.
func (f *FileFloor) Books(ctx context.Context, came int) error {
	var done, wrong int
	if err := f.QueryRowContext(ctx, floorBooks).Scan(&done, &wrong); err != nil {
		return err
	}
	return right(done, wrong, came)
}
