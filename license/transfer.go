package license

import (
	"time"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/partner"
)

// Transfer is one immutable move.
type Transfer struct {
	ID int64
	// Verb is "grant", "revoke", "assign", "return", "reserve", "post", "void", "consume", "expire", "correct" or "close".
	Verb string
	SKU  string
	// From and To are who had the units and who has them; nil is the issuer. They are the same where units change their state: reserve,
	// post, void, consume, expire.
	From, To           partner.Holder
	Quantity           int64
	Lots               []Lot // which units these were, in the order they were taken
	FromAfter, ToAfter int64 // what each side had right after it, in the state the units left or reached; 0 for the issuer
	Reason, Key        string
	Actor              string // as the audit names it; "system" for what time did
	Corrects           int64  // the transfer that this one is the opposite of
	Effective          time.Time
	Recorded           time.Time
	Replayed           bool // the key was seen before: this is the first result
}

// Lot is units of one grant with a validity; ID 0 is all undated ones. Of a balance, lots that run out first are used first.
type Lot struct {
	ID       int64
	Valid    partner.Period // a zero end is open
	Quantity int64
}

// public hides what the issuer has: it is the vendor's stock over all partners, and a transfer is read by one of them.
func public(t ledger.Transfer) Transfer {
	if t.From.Owner == ledger.Issuer {
		t.FromAfter = 0
	}
	if t.To.Owner == ledger.Issuer {
		t.ToAfter = 0
	}
	return Transfer{
		ID: t.ID, Verb: t.Verb, SKU: t.Unit, From: partner.HolderOf(t.From.Owner), To: partner.HolderOf(t.To.Owner), Quantity: t.Quantity,
		Lots: lots(t.Shares), FromAfter: t.FromAfter, ToAfter: t.ToAfter, Reason: t.Reason, Key: t.Key, Actor: t.Actor, Corrects: t.Corrects,
		Effective: t.Effective.Time(), Recorded: t.Recorded.Time(), Replayed: t.Replayed,
	}
}

func lots(shares []ledger.Share) []Lot {
	var list []Lot
	for _, s := range shares {
		list = append(list, Lot{ID: s.Lot, Valid: partner.Period{From: s.From.Time(), Until: s.Until.Time()}, Quantity: s.Quantity})
	}
	return list
}

func publicAll(rows []ledger.Transfer) []Transfer {
	list := make([]Transfer, len(rows))
	for i, r := range rows {
		list[i] = public(r)
	}
	return list
}
