package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"reflect"
	"strconv"

	"github.com/partnerkit/partnerkit/internal/fail"
	"gorm.io/gorm"
)

// What a statement can run into, beside plain success. Rooms turn the first four into their own errors.
var (
	ErrDuplicate = fail.New(fail.Exists, "already taken")                   // a unique index
	ErrReference = fail.New(fail.Invalid, "no such row to refer to")        // a foreign key
	ErrCheck     = fail.New(fail.Refused, "a check constraint refused it")  // CHECK
	ErrImmutable = fail.New(fail.Refused, "append-only")                    // our triggers
	ErrNoRow     = fail.New(fail.NotFound, "not found")                     // nothing in scope
	ErrAgain     = fail.New(fail.Conflict, "another transaction was first") // serialization, deadlock, lock
	errText      = fail.New(fail.Invalid, "text that the database cannot hold")
	errUnusable  = fail.New(fail.Invalid, "the host's transaction has failed already, or is read-only")
	errTxDone    = fail.New(fail.Invalid, "the transaction has already ended")
	errGone      = fail.New(fail.Unavailable, "the database cannot be reached")
	errBroken    = fail.New(fail.Unavailable, "the database refused the statement")

	// ErrOutcomeUnknown is a commit whose answer was lost.
	ErrOutcomeUnknown = fail.New(fail.Unavailable, "outcome unknown: repeat the call with the same key")
)

// classify turns a driver's error into one with a kind, keeping the driver's as its cause. Codes are read without importing a
// driver, so a SQLite host never links pgx and a PostgreSQL host never links SQLite.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case fail.KindOf(err) != nil:
		return err
	case errors.Is(err, gorm.ErrRecordNotFound), errors.Is(err, sql.ErrNoRows):
		return ErrNoRow
	case errors.Is(err, context.Canceled): // the sentinel alone: a driver wraps it in its address
		return fail.Because(fail.Unavailable, "the call ended before its work", context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return fail.Because(fail.Unavailable, "the call ended before its work", context.DeadlineExceeded)
	case errors.Is(err, sql.ErrTxDone):
		return errTxDone
	}
	if sentinel := bySQLState(err); sentinel != nil {
		return &classified{sentinel, err}
	}
	if sentinel := bySQLiteCode(err); sentinel != nil {
		return &classified{sentinel, err}
	}
	var network net.Error
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.EOF) || errors.As(err, &network) {
		return &classified{errGone, err}
	}
	return &classified{errBroken, err}
}

// classified is a driver's error seen as one of ours. It prints our words only: a driver's text can hold the values of a row.
type classified struct{ sentinel, driver error }

func (c *classified) Error() string   { return c.sentinel.Error() }
func (c *classified) Unwrap() []error { return []error{c.sentinel, c.driver} }

// bySQLState reads PostgreSQL's code (Appendix A of its manual) off any error that has one; pgx and lib/pq do.
func bySQLState(err error) error {
	var coded interface{ SQLState() string }
	if !errors.As(err, &coded) {
		return nil
	}
	switch state := coded.SQLState(); {
	case state == "23505":
		return ErrDuplicate
	case state == "23503":
		return ErrReference
	case state == "23514":
		return ErrCheck
	case state == refusedState:
		return ErrImmutable
	case state == "25P02", state == "25006":
		return errUnusable
	case state == "22021", state == "22P05":
		return errText
	case state == "40001", state == "40P01", state == "55P03", state == unsureState:
		return ErrAgain
	case len(state) == 5 && (state[:2] == "08" || state[:3] == "57P"):
		return errGone
	}
	return errBroken
}

// unsureState is a division by zero, by which a statement fails that has not done what it should; see [Tx.Sure].
const unsureState = "22012"

// refusedState is the SQLSTATE that the append-only triggers of the PostgreSQL schema raise.
const refusedState = "PRM01"

// SQLite result codes, https://sqlite.org/rescode.html.
const (
	sqliteBusy            = 5
	sqliteLocked          = 6
	sqliteConstraintCheck = 275
	sqliteConstraintFK    = 787
	sqliteConstraintTrig  = 1811
	sqliteConstraintPK    = 1555
	sqliteConstraintUniq  = 2067
	sqliteConstraintRowID = 2579
)

func bySQLiteCode(err error) error {
	code, ok := sqliteCode(err)
	if !ok {
		return nil
	}
	switch code {
	case sqliteConstraintUniq, sqliteConstraintPK, sqliteConstraintRowID:
		return ErrDuplicate
	case sqliteConstraintFK:
		return ErrReference
	case sqliteConstraintCheck:
		return ErrCheck
	case sqliteConstraintTrig:
		return ErrImmutable
	}
	if base := code & 0xff; base == sqliteBusy || base == sqliteLocked {
		return ErrAgain
	}
	return errBroken
}

// sqliteCode reads the extended result code: a method Code on the pure-Go drivers, a field ExtendedCode on mattn's.
func sqliteCode(err error) (int, bool) {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if coded, ok := e.(interface{ Code() int }); ok {
			return coded.Code(), true
		}
		v := reflect.Indirect(reflect.ValueOf(e))
		if v.Kind() != reflect.Struct {
			continue
		}
		if f := v.FieldByName("ExtendedCode"); f.IsValid() && f.CanInt() {
			return int(f.Int()), true
		}
	}
	return 0, false
}

// Again tells whether running the whole transaction once more can cure err.
func Again(err error) bool { return errors.Is(err, ErrAgain) || errors.Is(err, errGone) }

// codeOf is the driver's code of an error, for a log.
func codeOf(err error) string {
	var coded interface{ SQLState() string }
	if errors.As(err, &coded) {
		return coded.SQLState()
	}
	var c *classified
	if errors.As(err, &c) {
		if code, ok := sqliteCode(c.driver); ok {
			return strconv.Itoa(code)
		}
	}
	return ""
}
