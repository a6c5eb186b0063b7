package main

import (
	"context"
	"encoding/hex"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// batchSize is how many moves a caller brings at once.
const batchSize = 50

func batch50(s settings) measure {
	m := measure{name: "batch50", floor: floorOf(s), callers: []int{4},
		includes: "50 moves of the hot pool in one seats.AssignAll, all or none; figures are of moves, times of calls.\n" + floorOf(s) + leavesOut,
		aim:      "15x",
	}
	m.open = func(ctx context.Context, h *host, callers int) ([]target, error) {
		list, err := transferFloors(ctx, h, callers, hot)
		if err != nil {
			return list, err
		}
		w, err := newAssignWorld(ctx, h, callers, 1, h.sizes.projects, callers)
		if err == nil {
			err = w.acquaint(ctx)
		}
		if err != nil {
			return list, err
		}
		chance, projects := dice(callers), w.orgs[0].projects
		ours := w.ours(func(ctx context.Context, caller int) error {
			moves := make([]license.Move, batchSize)
			for i := range moves {
				key := newKey()
				moves[i] = license.Move{To: projects[chance[caller].IntN(len(projects))], SKU: sku, Quantity: 1, Key: hex.EncodeToString(key[:])}
			}
			_, err := w.seats.AssignAll(partner.WithSession(ctx, w.sessions[caller]), moves, true)
			return err
		})
		ours.items = batchSize
		return append(list, ours), nil
	}
	return m
}
