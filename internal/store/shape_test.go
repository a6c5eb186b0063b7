package store_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/partnerkit/partnerkit/internal/store"
)

// These are connections of drivers that look like pgx's and are not, or of a pgx that has changed.
type (
	batch struct{}
	rows  interface {
		Next() bool
		Scan(into ...any) error
		Err() error
		Close()
	}
	tag interface {
		String() string
		RowsAffected() int64
	}
	results interface {
		Exec() (tag, error)
		Query() (rows, error)
		Close() error
	}
	driverOf[C any] struct{ conn C }

	fits       struct{}
	noContext  struct{}
	noPointer  struct{}
	noQueue    struct{}
	noExec     struct{}
	noErrors   struct{}
	noRows     struct{}
	noTag      struct{}
	noClose    struct{}
	more       struct{}
	asks       struct{}
	noBatch    struct{}
	otherQueue struct{}
)

func (batch) Queue(string, ...any) {}

func (d driverOf[C]) Conn() C { return d.conn }

func (fits) SendBatch(context.Context, *batch) results       { return nil }
func (noContext) SendBatch(string, *batch) results           { return nil }
func (noPointer) SendBatch(context.Context, batch) results   { return nil }
func (noQueue) SendBatch(context.Context, *struct{}) results { return nil }
func (noExec) SendBatch(context.Context, *batch) interface {
	Query() (rows, error)
	Close() error
} {
	return nil
}

func (noErrors) SendBatch(context.Context, *batch) interface {
	Exec() tag
	Query() (rows, error)
	Close() error
} {
	return nil
}

func (noRows) SendBatch(context.Context, *batch) interface {
	Exec() (tag, error)
	Query() (string, error)
	Close() error
} {
	return nil
}

func (noTag) SendBatch(context.Context, *batch) interface {
	Exec() (int64, error)
	Query() (rows, error)
	Close() error
} {
	return nil
}

func (noClose) SendBatch(context.Context, *batch) interface {
	Exec() (tag, error)
	Query() (rows, error)
} {
	return nil
}

func (asks) SendBatch(context.Context, *batch) interface {
	Exec() (tag, error)
	Query(context.Context) (rows, error)
	Close() error
} {
	return nil
}

func (more) SendBatch(context.Context, *batch, int) results { return nil }

type listQueue struct{}

func (*listQueue) Queue(string, []any) {}

func (otherQueue) SendBatch(context.Context, *listQueue) results { return nil }

type connArgs struct{}

func (connArgs) Conn(int) fits { return fits{} }

// TestPipeline_AnotherShapeHasNone: what does not fit takes the plain way, instead of a panic in the middle of a flight.
func TestPipeline_AnotherShapeHasNone(t *testing.T) {
	if !store.CanPipeline(driverOf[fits]{}) || !store.CanPipeline(driverOf[*fits]{&fits{}}) {
		t.Fatal("a fitting one has none: these cases prove nothing")
	}
	for name, conn := range map[string]any{
		"no connection":        struct{}{},
		"a connection by name": connArgs{},
		"none, nil":            driverOf[*pgx.Conn]{},
		"none, an empty one": driverOf[interface {
			SendBatch(context.Context, *batch) results
		}]{},
		"pgx, never connected":  &stdlib.Conn{},
		"no SendBatch":          driverOf[noBatch]{},
		"no context":            driverOf[noContext]{},
		"no pointer":            driverOf[noPointer]{},
		"no Queue":              driverOf[noQueue]{},
		"Queue of a list":       driverOf[otherQueue]{},
		"no Exec":               driverOf[noExec]{},
		"no error of Exec":      driverOf[noErrors]{},
		"no rows":               driverOf[noRows]{},
		"no tag":                driverOf[noTag]{},
		"no Close":              driverOf[noClose]{},
		"more to say":           driverOf[more]{},
		"Query wants a context": driverOf[asks]{},
	} {
		if store.CanPipeline(conn) {
			t.Errorf("%s: found to have a pipeline", name)
		}
	}
}
