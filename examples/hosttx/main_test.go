package main

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// TestBEY01_HostAndSDKRowsCommitOrVanishTogether reads what the program printed, and then the database.
func TestBEY01_HostAndSDKRowsCommitOrVanishTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "channel.db")
	var out bytes.Buffer
	if err := run(context.Background(), path, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	const want = `sold: 1 tickets, 10 licences in the project
selling: 2 tickets, 20 licences in the project
rolled back: 1 tickets, 10 licences in the project
try 1
try 2
sold to Office and annex (ticket-3): 2 tickets, 20 licences in the project
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}

	db, err := gorm.Open(sqlite.Open(partner.SQLiteDSN(path)), &gorm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if pool, err := db.DB(); err == nil {
		defer pool.Close()
	}
	for query, want := range map[string]string{
		"SELECT group_concat(number, ' ') FROM tickets ORDER BY id":                                             "ticket-1 ticket-3",
		"SELECT group_concat(key, ' ') FROM prm_ledger_transfers WHERE verb = 'assign' ORDER BY id":             "ticket-1/less ticket-3/less",
		"SELECT count(*) FROM prm_events WHERE kind = 'license.assigned'":                                       "2",
		"SELECT count(*) FROM prm_events WHERE kind = 'session.switched'":                                       "2",
		"SELECT count(*) FROM prm_events WHERE kind = 'project.edited'":                                         "2",
		"SELECT sum(amount) FROM prm_ledger_balances WHERE unit = 'mailbox' AND owner LIKE 'prt@_%' ESCAPE '@'": "0",
	} {
		var got string
		if err := db.Raw(query).Scan(&got).Error; err != nil || got != want {
			t.Errorf("%s: got %q (%v), want %q", query, got, err, want)
		}
	}
}
