package partner_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

func pngOf(width, height int) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func jpegOf(width, height int) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, width, height)), nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// chunk is one of a RIFF file.
func chunk(name string, body ...[]byte) []byte {
	b := bytes.Join(body, nil)
	out := append(binary.LittleEndian.AppendUint32([]byte(name), uint32(len(b))), b...)
	return append(out, make([]byte, len(b)%2)...)
}

func webp(chunks ...[]byte) []byte { return chunk("RIFF", []byte("WEBP"), bytes.Join(chunks, nil)) }

func little24(n int) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16)} }

// lossy, lossless and the others are chunks of a WebP with heads only.
func lossy(width, height int) []byte {
	return chunk("VP8 ", []byte{0x30, 0, 0, 0x9d, 1, 0x2a, byte(width), byte(width >> 8), byte(height), byte(height >> 8)})
}

func lossless(width, height int) []byte {
	return chunk("VP8L", binary.LittleEndian.AppendUint32([]byte{0x2f}, uint32(width-1)|uint32(height-1)<<14))
}

func canvas(flags byte, width, height int) []byte {
	return chunk("VP8X", []byte{flags, 0, 0, 0}, little24(width-1), little24(height-1))
}

func frame(x, y, width, height int) []byte {
	return chunk("ANMF", little24(x/2), little24(y/2), little24(width-1), little24(height-1), []byte{100, 0, 0, 0}, lossless(width, height))
}

// realWebP are whole files that others' encoders have made: lossy, lossless, with alpha, animated; each of one pixel.
func realWebP(t testing.TB) [][]byte {
	t.Helper()
	var list [][]byte
	for _, text := range []string{
		"UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA",
		"UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==",
		"UklGRkoAAABXRUJQVlA4WAoAAAAQAAAAAAAAAAAAQUxQSAwAAAARBxAR/Q9ERP8DAABWUDggGAAAABQBAJ0BKgEAAQAAAP4AAA3AAP7mtQAAAA==",
		"UklGRlIAAABXRUJQVlA4WAoAAAASAAAAAAAAAAAAQU5JTQYAAAD/////AABBTk1GJgAAAAAAAAAAAAAAAAAAAGQAAABWUDhMDQAAAC8AAAAQBxAREYiI/gcA",
	} {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

// changed is b with one byte replaced.
func changed(b []byte, at int, to byte) []byte {
	b = slices.Clone(b)
	b[at] = to
	return b
}

// logoCase is an image, what it is said to be, and its faults.
type logoCase struct {
	name, said string
	image      []byte
	faults     string
}

func logoCases(t *testing.T) []logoCase {
	list := []logoCase{
		{"a PNG", "image/png", pngOf(64, 32), ""},
		{"a PNG of nothing said", "", pngOf(1, 1), ""},
		{"as wide as may be", "", pngOf(4096, 1), ""},
		{"too wide", "", pngOf(4097, 1), "image:range"},
		{"too high", "", pngOf(1, 4097), "image:range"},
		{"a JPEG", "image/jpeg", jpegOf(64, 32), ""},
		{"a JPEG too high", "image/jpeg", jpegOf(1, 4097), "image:range"},
		{"a PNG said to be a JPEG", "image/jpeg", pngOf(64, 32), "media_type:format"},
		{"a WebP said to be a PNG, too large", "image/png", webp(lossless(4097, 1)), "media_type:format image:range"},
		{"an unknown type", "image/svg+xml", pngOf(1, 1), "media_type:unknown_code"},
		{"a type with parameters", "image/png; q=1", pngOf(1, 1), "media_type:unknown_code"},
		{"an SVG", "", []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>`), "image:format"},
		{"an SVG said to be one", "image/svg+xml", []byte(`<svg/>`), "media_type:unknown_code image:format"},
		{"a GIF", "", []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"), "image:format"},
		{"nothing, which is not nil", "", []byte{}, "image:format"},
		{"the head of a PNG", "", pngOf(1, 1)[:20], "image:format"},
		{"a PNG with a wrong sum", "", changed(pngOf(1, 1), 19, 2), "image:format"},
		{"the head of a JPEG", "", jpegOf(1, 1)[:20], "image:format"},
		{"as much as may be", "", append(pngOf(1, 1), make([]byte, 1<<20-len(pngOf(1, 1)))...), ""},
		{"too much", "", append(pngOf(1, 1), make([]byte, 1<<20+1-len(pngOf(1, 1)))...), "image:too_long"},
		{"a lossy WebP", "image/webp", webp(lossy(4096, 4096)), ""},
		{"a scaled one", "", webp(lossy(4096|1<<14, 4096|3<<14)), ""},
		{"of no width", "", webp(lossy(0, 1)), "image:range"},
		{"of no height", "", webp(lossy(1, 0)), "image:range"},
		{"too large a lossy one", "", webp(lossy(16383, 1)), "image:range"},
		{"no key frame", "", changed(webp(lossy(1, 1)), 20, 0x31), "image:format"},
		{"no start code", "", changed(webp(lossy(1, 1)), 23, 0x9c), "image:format"},
		{"a lossless WebP", "", webp(lossless(4096, 4096)), ""},
		{"too high a lossless one", "", webp(lossless(1, 16384)), "image:range"},
		{"no lossless one", "", changed(webp(lossless(1, 1)), 20, 0x2e), "image:format"},
		{"of a later version", "", changed(webp(lossless(1, 1)), 24, 0x20), "image:format"},
		{"with a canvas", "", webp(canvas(0, 4096, 7), chunk("ICCP", []byte("odd")), lossless(4096, 7)), ""},
		{"too large a canvas", "", webp(canvas(0, 1<<24, 1), lossless(1, 1)), "image:format"},
		{"another canvas than its picture", "", webp(canvas(0, 8, 8), lossy(9, 8)), "image:format"},
		{"a canvas alone", "", webp(canvas(0, 8, 8)), "image:format"},
		{"a short canvas", "", webp(chunk("VP8X", make([]byte, 9)), lossless(1, 1)), "image:format"},
		{"an animation", "", webp(canvas(2, 8, 8), chunk("ANIM", make([]byte, 6)), frame(2, 2, 6, 6)), ""},
		{"too large an animation", "", webp(canvas(2, 4097, 8), frame(0, 0, 8, 8)), "image:range"},
		{"a frame beside its canvas", "", webp(canvas(2, 8, 8), frame(4, 0, 5, 8)), "image:format"},
		{"frames of no animation", "", webp(canvas(0, 8, 8), frame(0, 0, 8, 8)), "image:format"},
		{"an unknown chunk first", "", webp(chunk("EXIF", make([]byte, 4)), lossless(1, 1)), "image:format"},
		{"a RIFF that is no WebP", "", chunk("RIFF", []byte("WAVE"), lossless(1, 1)), "image:format"},
		{"a RIFX", "", chunk("RIFX", []byte("WEBP"), lossless(1, 1)), "image:format"},
		{"an empty RIFF", "", chunk("RIFF"), "image:format"},
		{"more said than there is", "", changed(webp(lossless(1, 1)), 4, 200), "image:format"},
		{"a chunk beyond the file", "", changed(webp(lossless(1, 1)), 16, 200), "image:format"},
		{"a chunk of four gigabytes", "", slices.Concat([]byte("RIFF\x0c\x00\x00\x00WEBPVP8L"), []byte{0xff, 0xff, 0xff, 0xff}), "image:format"},
		{"with something behind it", "", append(webp(lossless(3, 3)), "more"...), ""},
	}
	for i, b := range realWebP(t) {
		list = append(list, logoCase{fmt.Sprint("a WebP of the world, ", i), "image/webp", b, ""})
	}
	return list
}

// TestPAN06_LogosByContent: what an image is, its content says; all faults at once.
func TestPAN06_LogosByContent(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		for _, l := range logoCases(w.t) {
			err := w.reg.Partners.SetLogo(me, p.ID, "wide", l.said, l.image)
			if l.faults != "" {
				wantsFields(w.t, l.name, err, strings.Fields(l.faults)...)
				continue
			}
			if err != nil {
				w.t.Errorf("%s: %v", l.name, err)
				continue
			}
			kind, got, err := w.reg.Partners.Logo(me, p.ID, "wide")
			if err != nil || !bytes.Equal(got, l.image) || l.said != "" && kind != l.said {
				w.t.Errorf("%s comes back as %d bytes of %s, %v", l.name, len(got), kind, err)
			}
		}
		wantsFields(w.t, "another purpose", w.reg.Partners.SetLogo(me, p.ID, "Square", "text/html", []byte("x")), "purpose:unknown_code", "media_type:unknown_code", "image:format")
		wants(w.t, "another purpose", w.reg.Partners.SetLogo(me, p.ID, "", "", nil), partner.ErrUnknownCode)
		_, _, err := w.reg.Partners.Logo(me, p.ID, "round")
		wantsFields(w.t, "another purpose", err, "purpose:unknown_code")
	})
}

// TestPAN06_LogosOfHostileFiles: what is no image is none, whatever it does to other readers.
func TestPAN06_LogosOfHostileFiles(t *testing.T) {
	files, err := filepath.Glob("../../shared/hostile/*/*")
	if err != nil || len(files) == 0 {
		t.Skip("the hostile files are not here")
	}
	each(t, func(w *world) {
		p, me := w.partner("acme")
		for _, f := range files {
			b, err := os.ReadFile(f)
			w.must(err)
			w.trial("SetLogo", f, func() error {
				err := w.reg.Partners.SetLogo(me, p.ID, "dark", "", b)
				if got := fields(err); got != "image:format" && got != "image:too_long" {
					w.t.Errorf("%s: %v", f, err)
				}
				return err
			})
		}
		if n := rowsIn(w.t, w.db, "prm_partner_logos"); n != 0 {
			w.t.Errorf("%d logos", n)
		}
	})
}

// FuzzImageHead: no head makes the parser fail, and what stands behind an image changes nothing about it.
func FuzzImageHead(f *testing.F) {
	for _, b := range append(realWebP(f), pngOf(3, 2), jpegOf(3, 2), webp(lossy(3, 2)), webp(lossless(3, 2)), webp(canvas(0, 3, 2), chunk("ICCP", []byte("odd")), lossy(3, 2)),
		webp(canvas(2, 8, 8), chunk("ANIM", make([]byte, 6)), frame(2, 2, 6, 6))) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, width, height := partner.SizeOfImage(b)
		if known := []string{"", "image/png", "image/jpeg", "image/webp"}; !slices.Contains(known, kind) || width < 0 || height < 0 || kind == "" && width+height != 0 {
			t.Fatalf("%q of %d × %d", kind, width, height)
		}
		if kind == "" {
			return
		}
		again, w, h := partner.SizeOfImage(append(slices.Clone(b), "RIFF"...))
		if again != kind || w != width || h != height {
			t.Fatalf("%q of %d × %d, with more behind it %q of %d × %d", kind, width, height, again, w, h)
		}
	})
}

// TestPAN06_OneLogoOfAPurpose: each purpose has its own, a new one replaces it, nil removes it; what changes nothing is no event.
func TestPAN06_OneLogoOfAPurpose(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		given := pngOf(5, 5)
		w.must(w.reg.Partners.SetLogo(me, p.ID, "square", "", given))
		clear(given) // the caller's own again
		w.must(w.reg.Partners.SetLogo(w.vendor, p.ID, "wide", "image/jpeg", jpegOf(9, 3)))
		w.hasLogo(me, p.ID, "square", "image/png", pngOf(5, 5))
		w.hasLogo(me, p.ID, "wide", "image/jpeg", jpegOf(9, 3))
		w.hasLogo(me, p.ID, "dark", "", nil)
		w.must(w.reg.Partners.SetLogo(me, p.ID, "square", "image/png", pngOf(5, 5))) // as it is
		w.must(w.reg.Partners.SetLogo(me, p.ID, "square", "", webp(lossless(5, 5))))
		w.hasLogo(me, p.ID, "square", "image/webp", webp(lossless(5, 5)))
		w.must(w.reg.Partners.SetLogo(me, p.ID, "dark", "", nil)) // there is none
		w.must(w.reg.Partners.SetLogo(me, p.ID, "square", "image/png", nil))
		w.hasLogo(me, p.ID, "square", "", nil)
		w.hasLogo(me, p.ID, "wide", "image/jpeg", jpegOf(9, 3))
		events, err := w.reg.Activity.List(me, partner.EventFilter{Kinds: []string{"partner.logo_set"}}, partner.PageRequest{})
		w.must(err)
		var told []string
		for _, e := range events.Items {
			if e.Target != string(p.ID) || e.Partner != p.ID {
				w.t.Errorf("%+v is about another", e)
			}
			told = append(told, strings.Join(e.Changed, " ")+" by "+e.Actor)
		}
		admin := string(p.Contact)
		if want := []string{"logo_square by " + admin, "logo_square by " + admin, "logo_wide by host:ops@vendor.example", "logo_square by " + admin}; !slices.Equal(told, want) {
			w.t.Errorf("the audit says %q, want %q", told, want)
		}
	})
}

// TestPAN06_WhatWasCheckedIsKept, even if the caller's bytes change while the call is under way: here each look at the clock changes them.
func TestPAN06_WhatWasCheckedIsKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		var given []byte
		looked := 0
		clock := newClock()
		w := newWorld(t, db, func(o *partner.Options) {
			o.Clock = func() time.Time {
				clear(given)
				looked++
				return clock.Now()
			}
		})
		p, err := w.reg.Partners.Create(w.vendor, agreement("acme"))
		w.must(err)
		given, looked = pngOf(5, 5), 0
		w.must(w.reg.Partners.SetLogo(w.vendor, p.ID, "square", "", given))
		if looked == 0 || given[0] != 0 {
			t.Fatal("nothing has changed meanwhile: this proves nothing")
		}
		w.hasLogo(w.vendor, p.ID, "square", "image/png", pngOf(5, 5))
	})
}

func (w *world) hasLogo(ctx context.Context, id partner.ID, purpose, kind string, image []byte) {
	w.t.Helper()
	got, b, err := w.reg.Partners.Logo(ctx, id, purpose)
	if err != nil || got != kind || !bytes.Equal(b, image) || image == nil && b != nil {
		w.t.Errorf("the logo %s is %d bytes of %q, %v; want %d of %q", purpose, len(b), got, err, len(image), kind)
	}
}

// TestPAN06_WhoSetsLogos: the vendor, the organisation's admins and those above that manage it; whoever sees that the organisation is there sees its
// logo.
func TestPAN06_WhoSetsLogos(t *testing.T) {
	each(t, func(w *world) {
		top, boss := w.partner("top")
		low, me := w.partner("low", under(top.ID))
		_, stranger := w.partner("other")
		member := w.user(low.ID, "member", func(u *partner.NewUser) { u.Rights = everyRight })
		project := w.login(w.project(me, "one").Project.Login)
		set := func(ctx context.Context) error {
			return w.reg.Partners.SetLogo(ctx, low.ID, "square", "", pngOf(7, 7))
		}
		see := func(ctx context.Context) error {
			_, _, err := w.reg.Partners.Logo(ctx, low.ID, "square")
			return err
		}
		w.must(set(me))
		for _, ctx := range []context.Context{me, member, boss, w.vendor} {
			w.hasLogo(ctx, low.ID, "square", "image/png", pngOf(7, 7))
		}
		wants(w.t, "a member", set(member), partner.ErrForbidden)
		wants(w.t, "a project's log-in", set(project), partner.ErrNotFound)
		wants(w.t, "a project's log-in", see(project), partner.ErrNotFound)
		wants(w.t, "another partner", set(stranger), partner.ErrNotFound)
		wants(w.t, "another partner", see(stranger), partner.ErrNotFound)
		wants(w.t, "from above, without managing", set(boss), partner.ErrNotFound)
		wants(w.t, "nobody", set(context.Background()), partner.ErrForbidden)
		w.edit(top, func(a *partner.Agreement) { a.ManagesSubPartners = true })
		w.must(w.reg.Partners.SetLogo(boss, low.ID, "square", "", nil))
		w.hasLogo(me, low.ID, "square", "", nil)
		w.must(w.reg.Partners.Block(w.vendor, low.ID, false))
		wants(w.t, "a blocked admin", set(me), partner.ErrBlocked)
		w.must(set(w.vendor))
	})
}

// TestPAN06_LogosAtOnce: of several for one purpose one stays, whole.
func TestPAN06_LogosAtOnce(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		for _, err := range w.atOnce(8, func(i int) error { return w.reg.Partners.SetLogo(me, p.ID, "square", "", pngOf(i+1, 20)) }) {
			w.must(err)
		}
		_, b, err := w.reg.Partners.Logo(me, p.ID, "square")
		w.must(err)
		if c, err := png.DecodeConfig(bytes.NewReader(b)); err != nil || c.Height != 20 || rowsIn(w.t, w.db, "prm_partner_logos") != 1 {
			w.t.Errorf("the logo is %+v, %v", c, err)
		}
		tx := w.db.Begin()
		w.must(w.reg.In(tx).Partners.SetLogo(me, p.ID, "square", "", pngOf(99, 20)))
		if _, b, err := w.reg.In(tx).Partners.Logo(me, p.ID, "square"); err != nil || !bytes.Equal(b, pngOf(99, 20)) {
			w.t.Errorf("inside the host's transaction: %d bytes, %v", len(b), err)
		}
		w.must(tx.Rollback().Error)
		w.hasLogo(me, p.ID, "square", "image/png", b)
		if err := w.db.Exec("UPDATE prm_partner_logos SET purpose = 'round'").Error; err == nil {
			w.t.Error("the database takes another purpose")
		}
		if errors.Is(w.reg.Partners.SetLogo(w.vendor, partner.Vendor, "square", "", b), partner.ErrForbidden) {
			w.t.Error("the vendor has no logo")
		}
	})
}

// logos are each organisation's own, for itself to see.
func (i *isolation) logos(me, other *isoSide) {
	i.notFound("SetLogo", i.reg.Partners.SetLogo(me.admin, other.id, "square", "", pngOf(1, 1)))
	i.notFound("SetLogo", i.reg.Partners.SetLogo(me.member, other.id, "square", "", nil))
	for _, ctx := range []context.Context{me.admin, me.member, i.live(me).as} {
		if ctx != nil {
			_, _, err := i.reg.Partners.Logo(ctx, other.id, "square")
			i.notFound("Logo", err)
		}
	}
	kind, image := "", []byte(nil)
	if me.logo = i.rand.IntN(5); me.logo > 0 {
		kind, image = "image/png", pngOf(me.logo, 1)
	}
	i.must(i.reg.Partners.SetLogo(me.admin, me.id, "square", kind, image))
	i.hasLogo(me.member, me.id, "square", kind, image)
}
