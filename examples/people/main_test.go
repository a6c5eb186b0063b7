package main

import (
	"context"
	"strings"
	"testing"
)

func TestLIM01_PartnersAndUsersThroughTheAPI(t *testing.T) {
	var out strings.Builder
	if err := run(context.Background(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `renamed to Bolt & Sons
listed: Bolt & Sons active
listed: Acme Integrators active
mail to dana@acme.example: Welcome to the partner programme
Dana opened Office move
while disabled: partner: log in: not allowed
mail to dana@acme.example: Your new password
1 user is left
`
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", out.String(), want)
	}
}
