package partner

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/outbox"
	"github.com/partnerkit/partnerkit/internal/store"
)

// watchIdle looks at accounts that may have been left alone for too long. What only has to be looked at again is put off in one statement; what is
// changed is changed behind the account's gate, after another look: whoever has come meanwhile is seen.
func (r *Registry) watchIdle(ctx context.Context) (more bool, err error) {
	var list []idleRow
	later := map[string]idleStep{}
	err = store.Read(ctx, r.db, func(tx *store.Tx) error {
		err := tx.Query(swept, &list, "SELECT "+idleColumns+" FROM prm_idleness WHERE next_at <= ? ORDER BY next_at LIMIT ?", tx.Now(), sweepSize)
		if err == nil && len(list) < sweepSize { // what is looked at each hour and lies further away was put there by a clock that ran ahead
			var ahead []idleRow
			err = tx.Query(swept, &ahead, "SELECT "+idleColumns+" FROM prm_idleness WHERE stage > 0 AND next_at > ? ORDER BY next_at DESC LIMIT ?",
				tx.Now().Add(standsLook+clockError), sweepSize-len(list))
			list = append(list, ahead...)
		}
		for _, row := range list {
			if err != nil {
				break
			}
			var step idleStep
			if step, err = nextStep(tx, row); err == nil && step.do == nil {
				step.was = *row.NextAt
				later[row.AccountID] = step
			}
		}
		return err
	})
	if err != nil {
		return false, err
	}
	moved, err := r.putOff(ctx, later)
	for _, row := range list {
		if _, put := later[row.AccountID]; put {
			continue
		}
		failed := r.Write(asSystem(ctx), Ask{Action: "account.end", Target: row.AccountID, Changes: true}, func(tx *store.Tx, s *Standing) error {
			return s.goOn(tx, AccountID(row.AccountID))
		})
		if failed == nil {
			moved++
		}
		if failed = beaten(failed); failed != nil { // it holds up no other
			_, lost := r.putOff(ctx, map[string]idleStep{row.AccountID: {was: *row.NextAt, since: row.Since, next: store.Now(r.db).Add(idleLook)}})
			failed = cmp.Or(lost, failed)
		}
		err = cmp.Or(err, failed)
	}
	return err == nil && moved > 0 && len(list) == sweepSize, err
}

const idleColumns = "account_id, partner_id, since, stage, sent_at, due_at, to_account, to_contact, told, next_at"

var laterColumns = store.ColumnsOf("id TEXT", "was BIGINT", "since BIGINT", "next BIGINT")

// putOff has accounts looked at again later; a zero time is never. Those that somebody else is at, or that were to be looked at otherwise meanwhile, are
// left. It tells how many were not.
func (r *Registry) putOff(ctx context.Context, later map[string]idleStep) (put int64, err error) {
	if len(later) == 0 {
		return 0, nil
	}
	err = store.InTx(ctx, r.db, func(tx *store.Tx) error {
		rows := tx.Rows(laterColumns)
		ids := slices.Sorted(maps.Keys(later))
		for _, id := range ids {
			rows.Add(id, later[id].was, later[id].since, later[id].next)
		}
		put, err = tx.Exec(swept, "UPDATE prm_idleness SET since = CASE WHEN prm_idleness.since < x.since THEN x.since ELSE prm_idleness.since END, next_at = NULLIF(x.next, 0) FROM "+
			rows.SQL()+` WHERE account_id = x.id AND prm_idleness.next_at = x.was AND account_id IN (SELECT account_id FROM prm_idleness
			WHERE account_id IN ? ORDER BY account_id`+tx.Lock("NO KEY UPDATE SKIP LOCKED")+")", append(rows.Args(), ids)...)
		return err
	})
	return put, err
}

// goOn takes the next step for one account.
func (s *Standing) goOn(tx *store.Tx, id AccountID) error {
	row, err := idlenessOf(tx, string(id), changing)
	if err != nil {
		return err
	}
	step, err := nextStep(tx, row)
	if err != nil {
		return err
	}
	if step.do != nil {
		return step.do(s, tx)
	}
	var next *store.Micros
	if step.next > 0 {
		next = &step.next
	}
	return row.set(tx, max(row.Since, step.since), next)
}

// idleStep is what comes next for an account: something to do, or another look.
type idleStep struct {
	do          func(*Standing, *store.Tx) error
	since, next store.Micros
	was         store.Micros // when the account was to be looked at, so that it is still to be
}

// idleFacts are what that depends on.
type idleFacts struct {
	State    string
	Blocks   blocks
	Type     string
	Path     string // of its partner
	Standing bool   // that is let in, and so are its users
}

// nextStep decides. Where nobody could use the account anyway nothing goes on, and its time begins anew when somebody can.
func nextStep(tx *store.Tx, row idleRow) (idleStep, error) {
	var list []idleFacts
	err := tx.Query(swept, &list, `SELECT a.state, a.blocks, a.type, p.path, p.state = 'active' AND p.own_blocks = 0 AND p.own_inherited = 0 AND p.users_blocks = 0 AND p.users_inherited = 0
		AS standing FROM prm_accounts a JOIN prm_partners p ON p.id = a.partner_id WHERE a.id = ?`, row.AccountID)
	if err != nil || len(list) == 0 {
		return idleStep{}, err
	}
	f := list[0]
	t, err := typeOf(tx, f.Type, "")
	if err != nil {
		return idleStep{}, err
	}
	if f.State == "deleting" || f.State == "deleted" || t.Idle == 0 && row.Stage == used {
		return idleStep{since: row.Since}, nil
	}
	if !f.Standing || f.Blocks != 0 || f.State != "active" && f.State != "idle_notified" {
		return idleStep{since: row.Since, next: tx.Now().Add(standsLook)}, nil
	}
	last, err := lastDeed(tx, row)
	idle := func() bool { return err == nil && tx.Now() >= last.Add(t.idle()) }
	if idle() { // only then does the rest matter
		last, err = lastMoved(tx, row, last)
	}
	if idle() {
		last, err = lastLetIn(tx, f.Path, last)
	}
	switch {
	case err != nil:
		return idleStep{}, err
	case t.Idle > 0 && idle():
		return row.stageStep(tx, t, last)
	case row.Stage > used:
		return idleStep{do: func(s *Standing, tx *store.Tx) error { return s.wake(tx, row, t, last) }}, nil
	}
	return idleStep{since: last, next: last.Add(t.idle())}, nil
}

// lastDeed is when a human has last done something in the account, or it was opened again. Another address for its mail is no use of it (CLW-26), nor what
// somebody does about a letter.
func lastDeed(tx *store.Tx, row idleRow) (store.Micros, error) {
	var found []store.Micros
	err := tx.Query(swept, &found, `SELECT at FROM prm_events WHERE account_id = ? AND at > ? AND (actor LIKE 'usr!_%' ESCAPE '!' OR actor LIKE 'acc!_%' ESCAPE '!'
		OR actor LIKE 'mem!_%' ESCAPE '!' OR actor LIKE 'customer:%' OR kind IN ('account.resumed', 'account.close_cancelled')) AND NOT (kind = 'project.edited' AND changed = 'email')
		AND kind NOT IN ('delivery.retried', 'delivery.dismissed') ORDER BY at DESC, id DESC LIMIT 1`,
		row.AccountID, row.Since)
	if len(found) > 0 {
		return found[0], err
	}
	return row.Since, err
}

// lastMoved is when somebody has last moved licences out of the account, which the event of says of where they went, if that is later.
func lastMoved(tx *store.Tx, row idleRow, last store.Micros) (store.Micros, error) {
	var at store.Micros
	err := tx.Query(swept, &at, `SELECT COALESCE(max(recorded), 0) FROM prm_ledger_transfers WHERE recorded > ?
		AND from_id IN (SELECT id FROM prm_ledger_balances WHERE owner = ? AND book = ?) AND (actor LIKE 'usr!_%' ESCAPE '!' OR actor LIKE 'acc!_%' ESCAPE '!'
		OR actor LIKE 'mem!_%' ESCAPE '!')`, last, row.AccountID, ledger.Licenses)
	return max(last, at), err
}

// lastLetIn is when the partner at path was last let in again, by what was done to it or to an organisation above, if that is later.
func lastLetIn(tx *store.Tx, path string, last store.Micros) (store.Micros, error) {
	var above []string
	for i, r := range path {
		if r == '/' && i > 0 {
			above = append(above, path[:i+1])
		}
	}
	var at store.Micros
	err := tx.Query(swept, &at, `SELECT COALESCE(max(at), 0) FROM prm_events WHERE partner_id IN (SELECT id FROM prm_partners WHERE path IN ?) AND at > ?
		AND kind IN ('partner.unblocked', 'partner.users_unblocked', 'partner.restored', 'partner.moved')`, above, last)
	return max(last, at), err
}

// stageStep is the next step of an account that has been idle for long enough. last is when it was last used.
func (r idleRow) stageStep(tx *store.Tx, t typeRow, last store.Micros) (idleStep, error) {
	look := idleStep{since: last, next: tx.Now().Add(idleLook)}
	send := func(stage int) (idleStep, error) {
		return idleStep{do: func(s *Standing, tx *store.Tx) error { return s.notifyIdle(tx, r, t, stage, last) }}, nil
	}
	if r.Stage >= lastSent { // the last word is for whoever is to be told now
		switch told, err := toBeTold(tx, r.AccountID); {
		case err != nil:
			return look, err
		case told != r.Told:
			return send(lastSent)
		}
	}
	switch r.Stage {
	case used:
		return send(noticeSent)
	case noticeSent, lastSent:
		came, gone, err := r.arrived(tx)
		switch {
		case err != nil:
			return look, err
		case came > 0:
			return idleStep{do: func(s *Standing, tx *store.Tx) error { return s.noticesCame(tx, r, t, last, came) }}, nil
		case gone && tx.Now() >= r.SentAt.Add(noticesAgain):
			return send(r.Stage)
		}
		return look, nil
	case noticeCame:
		if tx.Now() >= r.DueAt-t.LastNotice && t.LastNotice > 0 {
			return send(lastSent)
		}
	}
	switch due := tx.Now() >= r.DueAt; {
	case due && r.NextAt != nil && tx.Now() >= r.NextAt.Add(lateLook):
		return idleStep{do: func(_ *Standing, tx *store.Tx) error { return r.putEndOff(tx, t, last) }}, nil
	case due:
		return idleStep{do: func(s *Standing, tx *store.Tx) error { return s.fallDormant(tx, r, last) }}, nil
	}
	look.next = min(look.next, max(r.DueAt, tx.Now()+1))
	return look, nil
}

// putEndOff lets as much time pass again as the last notice gave.
func (r idleRow) putEndOff(tx *store.Tx, t typeRow, last store.Micros) error {
	next := tx.Now().Add(idleLook)
	r.DueAt = tx.Now() + max(t.LastNotice, micros(standsLook))
	return r.set(tx, last, &next)
}

// toBeTold is a digest of the addresses that an account's notices would go to now.
func toBeTold(tx *store.Tx, account string) (string, error) {
	var to struct{ Own, Owner, Contact string }
	err := tx.Query(swept, &to, `SELECT a.email AS own, oi.email AS owner, COALESCE(ci.email, '') AS contact FROM prm_accounts a JOIN prm_partners p ON p.id = a.partner_id
		JOIN prm_users o ON o.id = a.owner_id JOIN prm_identities oi ON oi.id = o.identity_id LEFT JOIN prm_users c ON c.id = p.contact_id
		LEFT JOIN prm_identities ci ON ci.id = c.identity_id WHERE a.id = ?`, account)
	return addressesOf(cmp.Or(to.Own, to.Owner), to.Contact), err
}

// addressesOf makes them one word, which names nobody.
func addressesOf(account, contact string) string {
	return digest(emailKey(account) + "\x00" + emailKey(contact))
}

// arrived tells when both notices of the stage had come, 0 if they have not, and whether one will never come.
func (r idleRow) arrived(tx *store.Tx) (came store.Micros, gone bool, err error) {
	var list []outbox.Delivery
	err = tx.Query(swept, &list, "SELECT id, state, done_at FROM prm_deliveries WHERE id IN (?, ?)", r.ToAccount, r.ToContact)
	done := 0
	for _, d := range list {
		came = max(came, d.DoneAt)
		gone = gone || d.State == outbox.Dead
		if d.State == outbox.Done {
			done++
		}
	}
	want := 2
	if r.ToAccount == r.ToContact {
		want = 1
	}
	if done < want {
		came = 0
	}
	return came, gone || len(list) < want, err
}

// noticesCame writes down that both were told: from then on the grace runs, and the last notice is as long before its end as the type says.
func (s *Standing) noticesCame(tx *store.Tx, row idleRow, t typeRow, last, came store.Micros) error {
	due := came + t.Grace
	if row.Stage == lastSent {
		due = max(row.DueAt, came+t.LastNotice)
	}
	row.Stage, row.DueAt = row.Stage+1, due
	next := tx.Now().Add(idleLook)
	return row.set(tx, last, &next)
}

// notifyIdle tells the account's address and the primary contact, as far as both have one; else it is looked at again, for nothing goes on before both
// can be told. One person is told once.
func (s *Standing) notifyIdle(tx *store.Tx, row idleRow, t typeRow, stage int, last store.Micros) error {
	next := tx.Now().Add(idleLook)
	contact, err := contactOf(tx, s.Of())
	if err != nil {
		return err
	}
	account, err := s.accountAddress(tx)
	if err != nil {
		return err
	}
	if contact.Email == "" || account.To == "" {
		next = tx.Now().Add(standsLook)
		return row.set(tx, last, &next)
	}
	if err := row.dropNotices(tx); err != nil {
		return err
	}
	had, err := row.had(tx, addressesOf(account.To, contact.Email), stage)
	if err != nil {
		return err
	}
	template, kind, after := templateIdleNotice, "account.idle_notified", tx.Now()+t.Grace
	if stage == lastSent {
		template, kind, after = templateIdleLastNotice, "account.last_notified", max(row.DueAt, tx.Now()+t.LastNotice)
	}
	if _, err := tx.Exec(decided, "UPDATE prm_accounts SET state = 'idle_notified', version = version + 1 WHERE id = ? AND state = 'active'", row.AccountID); err != nil {
		return err
	}
	e, err := s.record(tx, kind, row.AccountID, []string{"state"})
	if err != nil {
		return err
	}
	about := map[string]string{wordAccount: account.Data[wordAccount], wordPartner: contact.Partner, wordUntil: until(after)}
	// What waits too long would name a day that has passed, so it is sent anew.
	send := func(id *string, l letter) error {
		if *id != "" && had[*id] {
			return nil
		}
		*id = tx.NewID("dlv")
		l.id, l.template, l.Data, l.expires = *id, template, about, tx.Now().Add(noticesAgain)
		return s.deliver(tx, e, l)
	}
	row.Stage, row.SentAt, row.Told = stage, tx.Now(), addressesOf(account.To, contact.Email)
	if err := send(&row.ToAccount, account); err != nil {
		return err
	}
	if emailKey(contact.Email) == emailKey(account.To) {
		row.ToContact = row.ToAccount
	} else if err := send(&row.ToContact, letter{To: contact.Email, Locale: cmp.Or(contact.Locale, contact.PartnerLocale)}); err != nil {
		return err
	}
	return row.set(tx, last, &next)
}

// had are those notices of the stage that have arrived already where they would go now: whoever has his gets no other.
func (r idleRow) had(tx *store.Tx, told string, stage int) (map[string]bool, error) {
	if told != r.Told || stage != r.Stage {
		return nil, nil
	}
	var done []string
	err := tx.Query(decided, &done, "SELECT id FROM prm_deliveries WHERE id IN (?, ?) AND state = 'done'", r.ToAccount, r.ToContact)
	had := map[string]bool{}
	for _, id := range done {
		had[id] = true
	}
	return had, err
}

// fallDormant ends the account without a confirmation: what follows is as after one. A long list and a shared commit pass no gate of the account's: they
// are waited for when its row is written, and what they have done is seen by another look.
func (s *Standing) fallDormant(tx *store.Tx, row idleRow, known store.Micros) error {
	if err := s.shut(tx, blockDormant, "deleting"); err != nil {
		return err
	}
	last, err := lastDeed(tx, row)
	if err == nil {
		last, err = lastMoved(tx, row, last)
	}
	if err == nil && last > known {
		err = errChanged
	}
	if err != nil {
		return err
	}
	if _, err := s.takeBack(tx, "account dormant"); err != nil {
		return err
	}
	if err := row.at(row.Stage).set(tx, row.Since, nil); err != nil {
		return err
	}
	closing := closingRow{ID: tx.NewID("clo"), PartnerID: row.PartnerID, AccountID: row.AccountID, State: closingErasing, RequestedBy: ledger.System,
		RequestedAt: tx.Now(), SettledBy: ledger.System, SettledAt: tx.Now(), NextAt: tx.Now()}
	if err := tx.Insert(&closing); err != nil {
		return err
	}
	if err := cmp.Or(s.reg.nameErasers(tx), listErasures(tx, closing.ID)); err != nil {
		return err
	}
	return s.Record(tx, "account.dormant", row.AccountID, "state")
}
