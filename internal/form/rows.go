package form

import (
	"github.com/partnerkit/partnerkit/internal/store"
)

// formRow is one version of a form of a kind. The text is kept as it was given: the order of its keys is that of the sections. A version without
// text says that there is no form from then on.
type formRow struct {
	Kind      string
	Version   int64
	Schema    string
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
}

// TableName implements GORM's Tabler.
func (formRow) TableName() string { return "prm_forms" }

var vendors = store.Everything("forms are the vendor's, for whoever fills them in")

// Latest returns the newest version of a kind of form and its text; 0 if there never was one.
func Latest(tx *store.Tx, kind string) (version int64, schema string, err error) {
	var rows []formRow
	err = tx.Query(vendors, &rows, "SELECT kind, version, schema, created_at FROM prm_forms WHERE kind = ? ORDER BY version DESC LIMIT 1", kind)
	if err != nil || len(rows) == 0 {
		return 0, "", err
	}
	return rows[0].Version, rows[0].Schema, nil
}

// At returns the text of a version; [store.ErrNoRow] if there is none.
func At(tx *store.Tx, kind string, version int64) (schema string, err error) {
	var rows []formRow
	err = tx.Query(vendors, &rows, "SELECT kind, version, schema, created_at FROM prm_forms WHERE kind = ? AND version = ?", kind, version)
	if err != nil {
		return "", err
	}
	if len(rows) == 0 {
		return "", store.ErrNoRow
	}
	return rows[0].Schema, nil
}

// Put makes schema, which has been parsed, the newest version of a kind, unless it is already; fresh tells.
func Put(tx *store.Tx, kind, schema string) (version int64, fresh bool, err error) {
	version, latest, err := Latest(tx, kind)
	if err != nil || latest == schema {
		return version, false, err
	}
	version++
	fresh, err = tx.InsertNew(&formRow{Kind: kind, Version: version, Schema: schema, CreatedAt: tx.Now()})
	if err == nil && !fresh { // another was first; on PostgreSQL it could not be seen before
		err = store.ErrAgain
	}
	return version, fresh, err
}
