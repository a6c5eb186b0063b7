package partner_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/partner"
)

// TestBEY03_WhatWaitsIsSealed where the host gave a sealer, for its own row alone; a process with another one leaves it alone.
func TestBEY03_WhatWaitsIsSealed(t *testing.T) {
	seal := &xorSealer{key: 0x5a}
	mailing(t, func(w *world, box *postbox) {
		p, me := w.partner("acme")
		w.invited(me, p.ID, "dev", func(u *partner.NewUser) { u.Name = canary })
		w.invited(me, p.ID, "eve")
		for _, line := range dump(w.t, w.db)["prm_deliveries"] {
			if strings.Contains(line, "user.example") || sings([]byte(line)) {
				w.t.Errorf("open: %s", line)
			}
		}
		if list := w.deliveries("ready"); len(list) != 2 || list[1].To != "dev@user.example" {
			w.t.Errorf("listed %+v", list)
		}
		other := newWorld(w.t, w.db, func(o *partner.Options) { o.Notifier, o.Clock = box, w.clock.Now })
		other.post()
		if ready := other.deliveries("ready"); len(box.sent) != 0 || len(ready) != 2 || ready[0].To != "" {
			w.t.Fatalf("without the sealer: sent %v, %+v", box.sent, ready)
		}
		w.clock.Advance(time.Hour)
		same := newWorld(w.t, w.db, func(o *partner.Options) { o.Notifier, o.Clock, o.Sealer = box, w.clock.Now, seal }) // another process, with the host's key
		same.post()
		if len(box.sent) != 2 {
			w.t.Fatalf("sent %v of %+v", box.sent, w.deliveries(""))
		}
		// A payload moved to another row does not open there.
		w.invited(me, p.ID, "fay")
		w.invited(me, p.ID, "gus")
		tamper(w.t, w.db, "UPDATE prm_deliveries SET payload = (SELECT max(payload) FROM prm_deliveries WHERE state = 'ready') WHERE state = 'ready'")
		w.post()
		if ready := w.deliveries("ready"); len(box.sent) != 3 || len(ready) != 1 || ready[0].LastError == "" {
			w.t.Errorf("sent %v, waits %+v", box.sent, ready)
		}
	}, func(o *partner.Options) { o.Sealer = seal })
}

// xorSealer is no AEAD, but it knows its own.
type xorSealer struct{ key byte }

func (x *xorSealer) Encrypt(plain, associated []byte) ([]byte, error) {
	out := append([]byte(sum(associated)), plain...)
	for i := range out {
		out[i] ^= x.key
	}
	return out, nil
}

func (x *xorSealer) Decrypt(sealed, associated []byte) ([]byte, error) {
	out := slices.Clone(sealed)
	for i := range out {
		out[i] ^= x.key
	}
	if plain, found := strings.CutPrefix(string(out), sum(associated)); found {
		return []byte(plain), nil
	}
	return nil, errors.New("not mine")
}

// TestBEY03_ASealerThatDoesNotSealIsRefused when the registry is opened.
func TestBEY03_ASealerThatDoesNotSealIsRefused(t *testing.T) {
	each(t, func(w *world) {
		for name, seal := range map[string]partner.Sealer{"open": plainSealer{}, "broken": &lossySealer{}} {
			_, err := partner.Open(w.t.Context(), w.db.DB, &partner.Options{Sealer: seal})
			wants(w.t, name, err, partner.ErrInvalid)
		}
	})
}

type plainSealer struct{}

func (plainSealer) Encrypt(plain, _ []byte) ([]byte, error)  { return plain, nil }
func (plainSealer) Decrypt(sealed, _ []byte) ([]byte, error) { return sealed, nil }

type lossySealer struct{ xorSealer }

func (*lossySealer) Decrypt(_, _ []byte) ([]byte, error) { return nil, errors.New("lost") }
