package license

import (
	"context"
	"strings"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Type is a countable right.
type Type struct {
	SKU     string // letters, digits and . _ : - up to 64; never changes
	Name    string
	Retired bool // nothing new is granted; what there is moves on
}

const typesTable = "prm_license_types"

type typeRow struct {
	SKU       string `gorm:"column:sku;primaryKey"`
	Name      string
	Retired   bool
	Version   int64
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
}

func (typeRow) TableName() string { return typesTable }

// catalogue is the scope of the vendor's types, which have no tenant.
var catalogue = store.Everything("licence types are the vendor's and everybody's to read")

const maxSKU = 64

func checkSKU(sku string) []partner.FieldError {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-"
	switch {
	case sku == "":
		return []partner.FieldError{{Path: "sku", Code: "required", Message: "must not be empty"}}
	case len(sku) > maxSKU:
		return []partner.FieldError{{Path: "sku", Code: "too_long", Message: "must be at most 64 characters"}}
	case strings.ContainsFunc(sku, func(r rune) bool { return !strings.ContainsRune(allowed, r) }):
		return []partner.FieldError{{Path: "sku", Code: "format", Message: "may contain letters, digits, '.', '_', ':' and '-'"}}
	}
	return nil
}

// Define adds a type, or renames the one with its SKU; vendor only. Retired is not read: see [Ledger.Retire]. Defining what is there
// already changes nothing, so a host may define its types at each start.
func (l *Ledger) Define(ctx context.Context, t Type) (err error) {
	defer wrap(&err, "define %s", t.SKU)
	faults := append(checkSKU(t.SKU), partner.Check{}.Name("name", t.Name)...)
	if len(faults) > 0 {
		return &partner.ValidationError{Fields: faults}
	}
	return l.reg.Write(ctx, partner.Ask{Action: "license.define"}, func(tx *store.Tx, s *partner.Standing) error {
		fresh, err := tx.InsertNew(&typeRow{SKU: t.SKU, Name: t.Name, Version: 1, CreatedAt: tx.Now()})
		if err != nil {
			return err
		}
		if fresh {
			return s.Record(tx, "license.defined", t.SKU, "name")
		}
		n, err := tx.Exec(catalogue, "UPDATE prm_license_types SET name = ?, version = version + 1 WHERE sku = ? AND name <> ?", t.Name, t.SKU, t.Name)
		if err != nil || n == 0 {
			return first(err, tx.Confirm())
		}
		return s.Record(tx, "license.renamed", t.SKU, "name")
	})
}

// Retire ends a type for new grants, for good; what has been granted moves on. Vendor only. A field error on "sku" if there is none.
func (l *Ledger) Retire(ctx context.Context, sku string) (err error) {
	defer wrap(&err, "retire %s", sku)
	if faults := checkSKU(sku); len(faults) > 0 {
		return &partner.ValidationError{Fields: faults}
	}
	return l.reg.Write(ctx, partner.Ask{Action: "license.define"}, func(tx *store.Tx, s *partner.Standing) error {
		if err := mustExist(tx, sku); err != nil {
			return err
		}
		n, err := tx.Exec(catalogue, "UPDATE prm_license_types SET retired = TRUE, version = version + 1 WHERE sku = ? AND NOT retired", sku)
		if err != nil || n == 0 {
			return first(err, tx.Confirm())
		}
		return s.Record(tx, "license.retired", sku, "retired")
	})
}

// Types lists them by SKU; everybody may.
func (l *Ledger) Types(ctx context.Context) (list []Type, err error) {
	defer wrap(&err, "types")
	err = l.reg.Read(ctx, partner.Ask{Action: "license.types"}, func(tx *store.Tx, _ *partner.Standing) error {
		var rows []typeRow
		err := tx.Query(catalogue, &rows, "SELECT * FROM prm_license_types ORDER BY sku")
		for _, r := range rows {
			list = append(list, Type{SKU: r.SKU, Name: r.Name, Retired: r.Retired})
		}
		return err
	})
	return list, err
}

// unknownType is the fault of a sku that names no type.
func unknownType() error {
	return &partner.ValidationError{Fields: []partner.FieldError{{Path: "sku", Code: "unknown_code", Message: "no such licence type",
		Err: partner.ErrUnknownCode}}}
}

var errRetired = fail.New(fail.Invalid, "the licence type is retired")

// mustExist refuses an unknown type.
func mustExist(tx *store.Tx, sku string) error {
	_, err := find(tx, sku)
	return err
}

var skuColumns = store.ColumnsOf("sku TEXT")

// knownTypes tells which of the types that moves name there are.
func knownTypes(tx *store.Tx, moves []*move) (map[string]bool, error) {
	known := map[string]bool{}
	list := tx.Rows(skuColumns)
	for _, m := range moves {
		if _, seen := known[m.sku]; !seen {
			known[m.sku] = false
			list.Add(m.sku)
		}
	}
	var found []string
	err := tx.Query(catalogue, &found, "SELECT t.sku FROM "+list.SQL()+" JOIN prm_license_types t ON t.sku = x.sku", list.Args()...)
	for _, sku := range found {
		known[sku] = true
	}
	return known, err
}

// mustBeCurrent refuses a retired type, too.
func mustBeCurrent(tx *store.Tx, sku string) error {
	t, err := find(tx, sku)
	if err == nil && t.Retired {
		err = &partner.ValidationError{Fields: []partner.FieldError{{Path: "sku", Code: "retired_code", Message: errRetired.Error(), Err: errRetired}}}
	}
	return err
}

func find(tx *store.Tx, sku string) (typeRow, error) {
	var rows []typeRow
	if err := tx.Query(catalogue, &rows, "SELECT * FROM prm_license_types WHERE sku = ?", sku); err != nil {
		return typeRow{}, err
	}
	if len(rows) == 0 {
		return typeRow{}, unknownType()
	}
	return rows[0], nil
}
