package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/partnerkit/partnerkit/internal/fail"
	"gorm.io/gorm"
)

//go:embed schema
var schemaFiles embed.FS

// migration is one numbered SQL file of a dialect.
type migration struct {
	version        int
	name           string
	compatibleFrom int // the oldest build that still works on the schema after it
	statements     string
}

// Schema tells which version a database has, which one this build wants, and the SQL between them.
type Schema struct {
	Have, Want int
	Pending    []string
}

// lockKey names the migration lock among the advisory locks of a PostgreSQL database: "prm" and a number of ours.
const lockKey = 0x70726d01

// migrations reads the files of a dialect. They are part of the build, so a bad one is a bug that every test would show.
func migrations(d dialect) ([]migration, error) {
	names, err := fs.Glob(schemaFiles, "schema/"+d.name+"/*.sql")
	if err != nil {
		return nil, err
	}
	var list []migration
	for i, name := range names { // Glob sorts
		text, err := fs.ReadFile(schemaFiles, name)
		if err != nil {
			return nil, err
		}
		base := strings.TrimSuffix(name[strings.LastIndex(name, "/")+1:], ".sql")
		number, title, _ := strings.Cut(base, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("store: migration %s is not number %d", name, i+1)
		}
		_, after, found := strings.Cut(string(text), "\n-- compatible_from: ")
		from, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(after, "\n", 2)[0]))
		if !found || err != nil {
			return nil, fmt.Errorf("store: migration %s does not say compatible_from", name)
		}
		list = append(list, migration{version, title, from, string(text)})
	}
	return list, nil
}

// Migrate brings the schema to this build's version; safe from many processes at once.
func Migrate(ctx context.Context, host *gorm.DB) error {
	d, err := connect(ctx, host, Config{})
	if err != nil {
		return err
	}
	if err := d.checkEngine(ctx); err != nil {
		return err
	}
	return migrate(ctx, d)
}

func migrate(ctx context.Context, d *DB) error {
	list, err := migrations(d.engine)
	if err != nil {
		return err
	}
	for _, m := range list {
		err := InTx(ctx, d, func(tx *Tx) error { return tx.migrate(m) })
		if err != nil {
			return fmt.Errorf("migration %d (%s): %w", m.version, m.name, err)
		}
	}
	return nil
}

const versionTable = `CREATE TABLE IF NOT EXISTS prm_schema_migrations (
  version         INTEGER NOT NULL PRIMARY KEY,
  name            TEXT NOT NULL,
  compatible_from INTEGER NOT NULL,
  applied_at      BIGINT NOT NULL
)`

// migrate runs one migration unless another process has. The lock comes first: CREATE TABLE IF NOT EXISTS alone collides on
// PostgreSQL's catalogue.
func (t *Tx) migrate(m migration) error {
	all := Everything("the schema has no tenant")
	if t.engine.postgres {
		if _, err := t.Exec(all, "SELECT pg_advisory_xact_lock(?)", lockKey); err != nil {
			return err
		}
	}
	if _, err := t.Exec(all, versionTable); err != nil {
		return err
	}
	var done int64
	if err := t.Query(all, &done, "SELECT count(*) FROM prm_schema_migrations WHERE version = ?", m.version); err != nil || done > 0 {
		return err
	}
	// Not through GORM, which reads '?' and '@' in the text as parameters.
	if _, err := t.pool.ExecContext(t.ctx, m.statements); err != nil {
		return classify(err)
	}
	_, err := t.Exec(all, "INSERT INTO prm_schema_migrations (version, name, compatible_from, applied_at) VALUES (?, ?, ?, ?)",
		m.version, m.name, m.compatibleFrom, t.now)
	return err
}

// mark is the statement that writes the version down, for a host that runs the SQL with its own tool.
func (m migration) mark(d dialect) string {
	now := "CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
	if d.postgres {
		now = "CAST(extract(epoch FROM now()) * 1000000 AS BIGINT)"
	}
	return fmt.Sprintf("\nINSERT INTO prm_schema_migrations (version, name, compatible_from, applied_at) VALUES (%d, '%s', %d, %s);\n",
		m.version, m.name, m.compatibleFrom, now)
}

// Status reads the version table and writes nothing.
func Status(ctx context.Context, host *gorm.DB) (Schema, error) {
	d, err := connect(ctx, host, Config{})
	if err != nil {
		return Schema{}, err
	}
	list, err := migrations(d.engine)
	if err != nil {
		return Schema{}, err
	}
	have, _, err := versions(ctx, d)
	if err != nil {
		return Schema{}, err
	}
	s := Schema{Have: have, Want: len(list)}
	for _, m := range list {
		if m.version > have {
			s.Pending = append(s.Pending, m.statements+m.mark(d.engine))
		}
	}
	if have == 0 {
		s.Pending = append([]string{versionTable + ";\n"}, s.Pending...)
	}
	return s, nil
}

// versions reads the newest version of the database, and the oldest build that may work on it; zeros for an empty database.
func versions(ctx context.Context, d *DB) (have, compatibleFrom int, err error) {
	err = Read(ctx, d, func(tx *Tx) error {
		var there int64
		find := "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'prm_schema_migrations'"
		if tx.engine.postgres {
			find = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('prm_schema_migrations')"
		}
		all := Everything("the schema has no tenant")
		if err := tx.Query(all, &there, find); err != nil || there == 0 {
			return err
		}
		var row struct {
			Version        sql.NullInt64
			CompatibleFrom sql.NullInt64
		}
		err := tx.Query(all, &row, "SELECT max(version) AS version, max(compatible_from) AS compatible_from FROM prm_schema_migrations")
		have, compatibleFrom = int(row.Version.Int64), int(row.CompatibleFrom.Int64)
		return err
	})
	return have, compatibleFrom, err
}

// checkSchema accepts this build's schema, and a newer one that says it is compatible with this build: during a rolling deploy the
// first new process migrates while old ones go on.
func checkSchema(ctx context.Context, d *DB) error {
	list, err := migrations(d.engine)
	if err != nil {
		return err
	}
	have, compatibleFrom, err := versions(ctx, d)
	switch want := len(list); {
	case err != nil:
		return err
	case have < want:
		return fail.New(fail.Refused, fmt.Sprintf("the database has schema %d, this build needs %d: run partner.Migrate", have, want))
	case compatibleFrom > want:
		return fail.New(fail.Refused, fmt.Sprintf("the database has schema %d, which needs a build of schema %d or later; this one is %d", have, compatibleFrom, want))
	}
	return nil
}
