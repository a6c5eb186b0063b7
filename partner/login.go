package partner

import (
	"cmp"
	"context"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Login checks a password and opens a session: for a user of an organisation, or by a project's delegated log-in. Unknown name, wrong
// password and a log-in without a password all answer [ErrBadCredentials], at the same cost. *[BlockedError] and [ErrPending] come only
// after the right password. source, an address, may be empty; it slows guessing: after 5 free guesses per name and 50 per source, each
// further one waits twice as long, up to 15 minutes ([ErrUnavailable]). Not inside a host transaction.
func (d *Access) Login(ctx context.Context, login string, password Secret, source string) (s Session, err error) {
	defer wrap(&err, "log in")
	if store.Joined(d.reg.db) {
		return s, errInHostTx
	}
	if len(password) > maxPassword || len(login) > 4*maxEmail {
		return s, ErrBadCredentials // before it costs anything; no stored name or password is that long
	}
	key := loginKey(login)
	if !store.Plain(key) { // no name is like that; the guess counts and costs as any other
		key = digest(login)
	}
	identity, known, err := d.identity(ctx, key, source)
	if err != nil {
		return s, err
	}
	g := guessOf(key, source, known)
	if err := d.reg.takeGuess(ctx, g); err != nil {
		return s, err
	}
	ok, renew, err := d.reg.verify(ctx, identity.PasswordHash, password)
	if err != nil {
		return s, err
	}
	if !ok {
		return s, ErrBadCredentials
	}
	renewed := ""
	if renew {
		if renewed, err = d.reg.hash(ctx, password); err != nil {
			return s, err
		}
	}
	return d.open(ctx, identity, renewed, source, g)
}

// identity reads who a name belongs to, nobody's row if it is unknown, and whether it has logged in from source before.
func (d *Access) identity(ctx context.Context, key, source string) (row identityRow, known bool, err error) {
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		var rows []identityRow
		if err := tx.Find(tx.From(deciding, identitiesTable).Where("login_key = ?", key), &rows); err != nil || len(rows) == 0 {
			return err
		}
		row = rows[0]
		var n int64
		err := tx.Query(deciding, &n, "SELECT count(*) FROM prm_known_sources WHERE identity_id = ? AND source = ?", row.ID, digest(source))
		known = n > 0 && source != ""
		return err
	})
	return row, known, err
}

// open makes the session if nothing bars the principal and the password is still the one that was checked. A right password is
// forgiven its guess even where a block refuses it, or the blocked could lock themselves out.
func (d *Access) open(ctx context.Context, identity identityRow, renewed, source string, g guess) (s Session, err error) {
	token := newToken(d.reg.db)
	var barred error
	err = store.InTx(ctx, d.reg.db, func(tx *store.Tx) error {
		if err := g.forgive(tx); err != nil {
			return err
		}
		var err error
		s, barred, err = d.begin(tx, identity, opening{token: token, source: source, renewed: renewed})
		return err
	})
	if err == nil {
		err = barred
	}
	if err != nil {
		return Session{}, err
	}
	return s, nil
}

// opening is how a session is begun.
type opening struct {
	token   string
	source  string // where the log-in came from
	renewed string // a new hash of the same password
	gated   bool   // the organisation's gate has been passed alone: there are no others to pass
	member  string // the place in an account that it is for; else where the identity belongs
	opener  string // the session that it hangs on
	endsAt  store.Micros
}

// begin writes the session and reads it as every later call will; barred is why there is none. Whoever has places in accounts alone begins where he was
// last, or in the first of them that lets him in.
func (d *Access) begin(tx *store.Tx, identity identityRow, how opening) (s Session, barred, err error) {
	places, err := placesOf(tx, identity, how.member)
	if err != nil {
		return s, nil, err
	}
	for _, p := range places {
		var refused error
		if s, refused, err = d.beginAt(tx, identity, p, how); err != nil || refused == nil {
			return s, nil, err
		}
		barred = cmp.Or(barred, refused)
	}
	return s, cmp.Or[error](barred, ErrBadCredentials), nil
}

func (d *Access) beginAt(tx *store.Tx, identity identityRow, p workplace, how opening) (s Session, barred, err error) {
	row, err := d.insertSession(tx, identity, p, how)
	if err != nil {
		return s, nil, err
	}
	f, err := d.reg.readFacts(tx, actor{token: row.TokenHash}, Ask{}, holding)
	if err != nil {
		return s, nil, err
	}
	st := &Standing{facts: &f, reg: d.reg}
	if barred = st.barred(); barred != nil {
		_, err := tx.Exec(decided, "DELETE FROM prm_sessions WHERE id = ?", row.ID)
		return s, barred, err
	}
	if err := remember(tx, identity.ID, how.source, how.renewed); err != nil {
		return s, nil, err
	}
	if p.MemberID != "" {
		if _, err := tx.Exec(decided, "UPDATE prm_members SET entered_at = ? WHERE id = ?", tx.Now(), p.MemberID); err != nil {
			return s, nil, err
		}
	}
	return st.session(how.token), nil, st.Record(tx, "session.opened", row.ID)
}

// insertSession writes the session with the epochs it is born in. The rows they come from are shared, so that a block or a password
// change is either seen here or ends this session.
func (d *Access) insertSession(tx *store.Tx, identity identityRow, at workplace, how opening) (sessionRow, error) {
	row := sessionRow{ID: tx.NewID("ses"), TokenHash: digest(how.token), IdentityID: identity.ID, PartnerID: cmp.Or(at.Home, at.PartnerID), UserID: optional(at.UserID),
		CreatedAt: tx.Now(), SeenAt: tx.Now(), EndsAt: tx.Now().Add(d.reg.opts.Session.Absolute), OpenerID: optional(how.opener)}
	if how.endsAt != 0 {
		row.EndsAt = min(row.EndsAt, how.endsAt)
	}
	if !how.gated {
		if err := enterGates(tx, row.PartnerID, at.PartnerID, row.IdentityID, at.AccountID); err != nil {
			return row, err
		}
	}
	lock := sharing
	if how.renewed != "" || how.gated {
		lock = changing // it will be written: two that shared it first would wait for each other
	}
	var now identityRow
	if err := tx.Take(tx.From(deciding, identitiesTable).Where("id = ?", identity.ID), &now, lock); err != nil {
		return row, err
	}
	if now.Epoch != identity.Epoch { // the password was changed while it was being checked
		return row, ErrBadCredentials
	}
	row.IdentityEpoch = now.Epoch
	if err := at.bind(tx, &row); err != nil {
		return row, err
	}
	return row, tx.Insert(&row)
}

// remember keeps the source as known, and the renewed hash. A renewed hash is the same password: it ends no session.
func remember(tx *store.Tx, identity, source, renewed string) error {
	if renewed != "" {
		if _, err := tx.Exec(decided, "UPDATE prm_identities SET password_hash = ? WHERE id = ?", renewed, identity); err != nil {
			return err
		}
	}
	if source == "" {
		return nil
	}
	row := knownSourceRow{IdentityID: identity, Source: digest(source), SeenAt: tx.Now()}
	if fresh, err := tx.InsertNew(&row); fresh || err != nil {
		return err
	}
	_, err := tx.Exec(decided, "UPDATE prm_known_sources SET seen_at = ? WHERE identity_id = ? AND source = ?", tx.Now(), identity, row.Source)
	return err
}
