package bot

import (
	"testing"
	"time"

	"weft/control/mesh"
)

func TestRoam(t *testing.T) {
	for player := mesh.PlayerID(1); player <= 20; player++ {
		m, pos := newMind(7, Spec{Player: player, Roam: true}, figure), spot
		far := 0.0
		walk(&m, &pos, 0, 2*time.Minute, func(intent) { far = max(far, distM(pos, spot)) })
		if far < strollM+5 {
			t.Errorf("player %d came only %.1f m far", player, far)
		}
	}
}
