package partner

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"slices"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Bounds of a logo.
const (
	maxLogoBytes = 1 << 20
	maxLogoSide  = 4096 // pixels
)

const (
	typePNG  = "image/png"
	typeJPEG = "image/jpeg"
	typeWebP = "image/webp"
)

// SetLogo keeps the partner's logo for a purpose, "square", "wide" or "dark", in place of the one there is; a nil image removes it. The image
// is a PNG, a JPEG or a WebP, by its content; mediaType may be empty, or must say the same. It has at most 1 MiB and 4,096 pixels each way. The vendor may,
// and the admins of the partner and of an organisation that manages it. The same image again changes nothing.
//
// *[ValidationError] with the fields "purpose" and "media_type" ("unknown_code", or "format" for another type than the content's), and "image"
// ("format", "too_long", "range"). Of the image its head has been read, not its pixels.
func (d *Partners) SetLogo(ctx context.Context, id ID, purpose, mediaType string, image []byte) (err error) {
	defer wrap(&err, "set logo of %s", id)
	var c checks
	c.purpose(purpose)
	if mediaType != "" && !slices.Contains([]string{typePNG, typeJPEG, typeWebP}, mediaType) {
		c.add("media_type", "unknown_code", "must be image/png, image/jpeg or image/webp", ErrUnknownCode)
		mediaType = ""
	}
	if image != nil {
		if len(image) <= maxLogoBytes {
			image = bytes.Clone(image) // what was checked is what is kept, whatever the caller does with his
		}
		mediaType = c.logo(mediaType, image)
	}
	if err := c.err(); err != nil {
		return err
	}
	return d.reg.Write(ctx, Ask{Action: "partner.set_logo", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		n, err := putLogo(tx, id, purpose, mediaType, image)
		if err != nil || n == 0 {
			return err
		}
		return s.Record(tx, "partner.logo_set", string(id), "logo_"+purpose)
	})
}

// putLogo returns how many rows it has changed.
func putLogo(tx *store.Tx, id ID, purpose, mediaType string, image []byte) (int64, error) {
	if image == nil {
		return tx.Exec(decided, "DELETE FROM prm_partner_logos WHERE partner_id = ? AND purpose = ?", id, purpose)
	}
	return tx.Exec(decided, `INSERT INTO prm_partner_logos (partner_id, purpose, media_type, image) VALUES (?, ?, ?, ?)
		ON CONFLICT (partner_id, purpose) DO UPDATE SET media_type = excluded.media_type, image = excluded.image
		WHERE prm_partner_logos.image <> excluded.image`, id, purpose, mediaType, image)
}

// Logo returns the partner's logo for a purpose, as SetLogo was given it; both are empty if there is none. Who may read the partner may. It came
// from outside: serve it as what mediaType says, with X-Content-Type-Options: nosniff.
func (d *Partners) Logo(ctx context.Context, id ID, purpose string) (mediaType string, image []byte, err error) {
	defer wrap(&err, "logo of %s", id)
	var c checks
	c.purpose(purpose)
	if err := c.err(); err != nil {
		return "", nil, err
	}
	var rows []struct {
		MediaType string
		Image     []byte
	}
	err = d.reg.Read(ctx, Ask{Action: "partner.read", Target: string(id)}, func(tx *store.Tx, _ *Standing) error {
		rows = nil
		return tx.Query(decided, &rows, "SELECT media_type, image FROM prm_partner_logos WHERE partner_id = ? AND purpose = ?", id, purpose)
	})
	if err != nil || len(rows) == 0 {
		return "", nil, err
	}
	return rows[0].MediaType, rows[0].Image, nil
}

func (c *checks) purpose(purpose string) {
	if !slices.Contains([]string{"square", "wide", "dark"}, purpose) {
		c.add("purpose", "unknown_code", "must be square, wide or dark", ErrUnknownCode)
	}
}

// logo checks an image against the type that it is said to be of, if any, and returns the one that it is.
func (c *checks) logo(said string, image []byte) string {
	if len(image) > maxLogoBytes {
		c.add("image", "too_long", fmt.Sprintf("must be at most %d bytes", maxLogoBytes), nil)
		return ""
	}
	found, width, height := sizeOfImage(image)
	switch {
	case found == "":
		c.add("image", "format", "must be a PNG, a JPEG or a WebP", nil)
	case width < 1 || height < 1 || width > maxLogoSide || height > maxLogoSide:
		c.add("image", "range", fmt.Sprintf("must be 1 to %d pixels each way", maxLogoSide), nil)
	}
	if found != "" && said != "" && said != found {
		c.add("media_type", "format", "must be that of the image: "+found, nil)
	}
	return found
}

// sizeOfImage reads the head of an image; the type is empty if it is none of ours.
func sizeOfImage(b []byte) (mediaType string, width, height int) {
	var config image.Config
	var err error
	ok := true
	switch {
	case bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")):
		mediaType = typePNG
		config, err = png.DecodeConfig(bytes.NewReader(b))
	case bytes.HasPrefix(b, []byte("\xff\xd8\xff")):
		mediaType = typeJPEG
		config, err = jpeg.DecodeConfig(bytes.NewReader(b))
	default:
		mediaType = typeWebP
		config.Width, config.Height, ok = sizeOfWebP(b)
	}
	if err != nil || !ok {
		return "", 0, 0
	}
	return mediaType, config.Width, config.Height
}
