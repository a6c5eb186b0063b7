package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// pageSize is the default of the API.
const pageSize = 50

func lists(s settings) measure {
	small := s.sizes.lists[0]
	m := measure{name: "list/partners", callers: []int{1}, times: true, floor: fmt.Sprintf("%d/first", small), aim: "1.5x at every size",
		includes: fmt.Sprintf("Partners.List as the vendor, a page of 50 with contracts, balances, log-ins and paths: the first page, and one of 20 pages about\n"+
			"the middle by its cursor. The floor is the first page of %d partners.", small),
	}
	m.open = func(ctx context.Context, h *host, callers int) (list []target, err error) {
		for _, n := range h.sizes.lists {
			t, err := h.tree(ctx, n)
			if err != nil {
				return list, err
			}
			if err := t.pool(callers); err != nil {
				return list, err
			}
			cursors, chance := t.middle(), dice(callers)
			list = append(list,
				target{name: fmt.Sprintf("%d/first", n), ours: true, call: func(ctx context.Context, _ int) error { return t.page(ctx, "") }},
				target{name: fmt.Sprintf("%d/middle", n), ours: true, call: func(ctx context.Context, caller int) error {
					return t.page(ctx, cursors[chance[caller].IntN(len(cursors))])
				}})
		}
		return list, nil
	}
	return m
}

// searches are over names and log-in names that number the partners: one begins as 111 of each world do, one as all, and one as a ninth of them, which
// are the oldest in the list's order.
func searches(s settings) measure {
	small := s.sizes.lists[0]
	m := measure{name: "search/partners", callers: []int{1}, times: true, floor: fmt.Sprintf("%d/few", small), aim: "1.5x at every size, but for old",
		includes: "Partners.List as the vendor with a search, the first page of 50: by a whole name; by one that 111 begin with; by one that all do; and by name or\n" +
			"log-in name one that a ninth begin with, none of which is among the newest. Partners.Export writes those 111 as CSV.",
	}
	m.open = func(ctx context.Context, h *host, callers int) (list []target, err error) {
		for _, n := range h.sizes.lists {
			t, err := h.tree(ctx, n)
			if err != nil {
				return list, err
			}
			if err := t.pool(callers); err != nil {
				return list, err
			}
			few := "partner org-" + "123456789"[:len(strconv.Itoa(n-1))-2]
			search := func(name, text string, found int) {
				list = append(list, target{name: fmt.Sprintf("%d/%s", n, name), ours: true, call: func(ctx context.Context, _ int) error {
					return t.search(ctx, text, found)
				}})
			}
			search("one", fmt.Sprintf("Partner org-%d", n-1), 1)
			search("few", few, pageSize)
			search("all", "partner org", pageSize)
			search("old", "partner org-1", pageSize)
			search("old-login", "org-1", pageSize)
			list = append(list, target{name: fmt.Sprintf("%d/export", n), ours: true, call: func(ctx context.Context, _ int) error {
				return t.reg.Partners.Export(partner.AsVendor(ctx, "bench"), io.Discard, "csv", partner.PartnerFilter{Search: few})
			}})
		}
		return list, nil
	}
	return m
}

func (t *tree) search(ctx context.Context, text string, found int) error {
	page, err := t.reg.Partners.List(partner.AsVendor(ctx, "bench"), partner.PartnerFilter{Search: text}, partner.PageRequest{Limit: pageSize})
	if err == nil && len(page.Items) != found {
		err = errShortPage
	}
	return err
}

var errShortPage = errors.New("the page is not full")

func (t *tree) page(ctx context.Context, after string) error {
	page, err := t.reg.Partners.List(partner.AsVendor(ctx, "bench"), partner.PartnerFilter{}, partner.PageRequest{After: after, Limit: pageSize})
	if err == nil && len(page.Items) != pageSize {
		err = errShortPage
	}
	return err
}

// partnersList is what the cursors of Partners.List without a filter are bound to. Were it called otherwise, they would be refused.
const partnersList = `partners[]interface {}{"", "", false}`

// middle returns cursors to pages about the middle of the list, which are as the API makes them; to walk there takes minutes.
func (t *tree) middle() []string {
	cursors := make([]string, 20)
	for i := range cursors {
		o := t.orgs[len(t.orgs)/2+i*pageSize]
		cursors[i] = store.Cursor(store.Place{At: o.created, ID: o.id.String()}, partnersList)
	}
	return cursors
}
