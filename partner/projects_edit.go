package partner

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/store"
)

// EditProject changes Name, Email, Company, Phone and Locale of a project that is not closing, and Country within its region
// ([ErrRegionPinned] otherwise); it tells the Customer of one that has none yet. Login, Password, Partner, Key and another Customer are [ErrImmutable]. Partner users. A changed Email gets all later
// mail; the old address gets one notice. version and change are as in [Partners.Edit].
func (d *Accounts) EditProject(ctx context.Context, id AccountID, version int64, change func(*NewProject)) (a Account, err error) {
	defer wrap(&err, "edit %s", id)
	ask := Ask{Action: "project.edit", Target: string(id), Changes: true}
	err = d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		a, err = s.account(tx, string(id))
		return err
	})
	if err != nil {
		return a, err
	}
	if a.Version != version || a.Project == nil {
		return a, errChanged
	}
	before, after := *a.Project, *a.Project
	change(&after)
	changed, err := editableProject(before, after)
	if err != nil || len(changed) == 0 {
		return a, err
	}
	ready, err := d.reg.checkProjectEdit(ctx, a.Region, before, after)
	if err != nil {
		return a, err
	}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if err := s.editProject(tx, id, version, before, after, ready, changed); err != nil {
			return err
		}
		a, err = s.account(tx, string(id))
		return err
	})
	if err != nil {
		return Account{}, err
	}
	return a, nil
}

// editableProject names the fields that differ, and refuses those that never change.
func editableProject(before, after NewProject) (changed []string, err error) {
	if after.Login != before.Login || after.Password != "" || after.Partner != before.Partner || after.Key != "" ||
		before.Customer != "" && after.Customer != before.Customer {
		return nil, ErrImmutable
	}
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"name", after.Name != before.Name}, {"email", after.Email != before.Email}, {"company", after.Company != before.Company},
		{"country", after.Country != before.Country}, {"phone", after.Phone != before.Phone}, {"locale", after.Locale != before.Locale},
		{"customer", after.Customer != before.Customer},
	} {
		if f.differs {
			changed = append(changed, f.name)
		}
	}
	return changed, nil
}

// checkProjectEdit checks the fields as at opening; host callbacks run for those that changed.
func (r *Registry) checkProjectEdit(ctx context.Context, region string, before, after NewProject) (preparedProject, error) {
	o := r.opts
	if after.Phone == before.Phone {
		o.Phones = asRead
	}
	moved := after.Country != before.Country && r.opts.Regions != nil
	if store.Joined(r.db) && (moved || o.Phones != nil && after.Phone != before.Phone) {
		return preparedProject{}, errCallback
	}
	ready, faults := o.checkProject(after)
	if err := faults.err(); err != nil {
		return ready, err
	}
	if ready.country != before.Country {
		now, err := r.region(ctx, ready.country)
		if err != nil {
			return ready, err
		}
		if now != region {
			return ready, ErrRegionPinned
		}
	}
	return ready, nil
}

func (s *Standing) editProject(tx *store.Tx, id AccountID, version int64, before, p NewProject, ready preparedProject, changed []string) error {
	n, err := tx.Update(tx.From(s.scope(false), accountsTable).Where("id = ? AND version = ?", id, version), map[string]any{
		"name": p.Name, "name_key": nameKey(p.Name), "email": ready.email, "company": p.Company, "country": ready.country, "phone": ready.phone,
		"locale": p.Locale, "customer": p.Customer, "version": version + 1,
	})
	if taken(err) {
		return errNameTaken()
	}
	if err != nil {
		return err
	}
	if n != 1 {
		return errChanged
	}
	event, err := s.record(tx, "project.edited", string(id), changed)
	if err == nil && emailKey(before.Email) != emailKey(ready.email) {
		err = s.deliver(tx, event, letter{template: templateProjectEmail, To: before.Email, Locale: p.Locale, Data: map[string]string{wordProject: p.Name}})
	}
	return err
}

// SetProjectPassword sets the delegated log-in's password and ends its sessions; partner users. "weak" ([ErrWeakPassword]).
// Not inside a host transaction.
func (d *Accounts) SetProjectPassword(ctx context.Context, id AccountID, password Secret) (err error) {
	defer wrap(&err, "set password of %s", id)
	return d.setPassword(ctx, id, password)
}

// ResetProjectPassword makes a password for the delegated log-in, returns it this once, and ends its sessions; partner users.
// Not inside a host transaction.
func (d *Accounts) ResetProjectPassword(ctx context.Context, id AccountID) (password Secret, err error) {
	defer wrap(&err, "reset password of %s", id)
	password = generatedPassword(d.reg.db)
	if err := d.setPassword(ctx, id, password); err != nil {
		return "", err
	}
	return password, nil
}

func (d *Accounts) setPassword(ctx context.Context, id AccountID, password Secret) error {
	if store.Joined(d.reg.db) {
		return errInHostTx
	}
	ask := Ask{Action: "project.password", Target: string(id), Changes: true}
	var rules passwordRules
	err := d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		a, err := s.account(tx, string(id))
		if err == nil {
			rules, err = d.reg.passwordRules(tx, a.Partner, a.Name, a.Project.Login, a.Project.Email)
		}
		return err
	})
	if err != nil {
		return err // before the cost of a hash
	}
	var c checks
	c.password("password", password, rules)
	if err := c.err(); err != nil {
		return err
	}
	hash, err := d.reg.hash(ctx, password)
	if err != nil {
		return err
	}
	return d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		_, err := tx.Exec(decided, `UPDATE prm_identities SET password_hash = ?, epoch = epoch + 1, version = version + 1
			WHERE id = (SELECT identity_id FROM prm_accounts WHERE id = ?)`, hash, id)
		if err != nil {
			return err
		}
		return s.Record(tx, "project.password_set", string(id), "password")
	})
}

// Suspend stops orders, charges and licence moves of an account with [ErrSuspended]; log-in stays. Vendor only; the reason is
// recorded with the host, not here.
func (d *Accounts) Suspend(ctx context.Context, id AccountID) (err error) {
	defer wrap(&err, "suspend %s", id)
	return d.setState(ctx, id, "account.suspend", "account.suspended", "suspended", "active", "idle_notified")
}

// Resume undoes Suspend. Vendor only.
func (d *Accounts) Resume(ctx context.Context, id AccountID) (err error) {
	defer wrap(&err, "resume %s", id)
	return d.setState(ctx, id, "account.resume", "account.resumed", "active", "suspended")
}

// setState moves an account along an edge of its state machine; [ErrBadTransition] where there is none.
func (d *Accounts) setState(ctx context.Context, id AccountID, action, kind, to string, from ...string) error {
	return d.reg.Write(ctx, Ask{Action: action, Target: string(id), Changes: true}, func(tx *store.Tx, s *Standing) error {
		n, err := tx.Exec(decided, "UPDATE prm_accounts SET state = ?, version = version + 1 WHERE id = ? AND state IN ?", to, id, from)
		if err != nil {
			return err
		}
		if n != 1 {
			return ErrBadTransition
		}
		return s.Record(tx, kind, string(id), "state")
	})
}
