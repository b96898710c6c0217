package dynamostore

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"weft/control/mesh"
	"weft/control/store"
)

// imageOf writes an item as Lambda hands it over.
func imageOf(pk, sk string, body any) string {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	name, packed := "body", pack(text)
	data := packed.Body
	if len(packed.Flat) > 0 {
		name, data = "z", packed.Flat
	}
	return fmt.Sprintf(`{"pk":{"S":%q},"sk":{"S":%q},"inc":{"N":"18446744073709551615"},"seq":{"N":"7"},%q:{"B":%q}}`, pk, sk, name, base64.StdEncoding.EncodeToString(data))
}

func TestImage(t *testing.T) {
	report := mesh.Report{Process: mesh.Process{ID: "a", Incarnation: 1<<64 - 1}, Sequence: 7, Zones: make([]mesh.ZoneLoad, 30)}
	for _, c := range []struct {
		name, event, image string
		want               store.Change
		damaged            bool
	}{
		{"a report, packed", "MODIFY", imageOf("report", "a", report), store.Change{Kind: store.ReportChanged, ID: "a"}, false},
		{"an intent", "INSERT", imageOf("intent", "wake", mesh.Intent{Token: "wake"}), store.Change{Kind: store.IntentChanged, ID: "wake"}, false},
		{"a suspicion", "INSERT", imageOf("suspicion", "1:ab", mesh.Suspicion{}), store.Change{Kind: store.SuspicionChanged, ID: "a"}, false},
		{"planner state", "MODIFY", imageOf("planner", "state", 1), store.Change{}, false},
		{"a removal", "REMOVE", "", store.Change{}, false},
		{"no image", "MODIFY", "", store.Change{}, true},
		{"an image of nothing", "MODIFY", `{}`, store.Change{}, false},
		{"a report that is a word", "MODIFY", imageOf("report", "a", "x"), store.Change{}, true},
		{"no body", "MODIFY", `{"pk":{"S":"report"},"sk":{"S":"a"}}`, store.Change{}, true},
		{"a body of text", "MODIFY", `{"pk":{"S":"report"},"sk":{"S":"a"},"body":{"S":"x"}}`, store.Change{}, true},
		{"a body that is not deflated", "MODIFY", `{"pk":{"S":"report"},"sk":{"S":"a"},"z":{"B":"eHh4"}}`, store.Change{}, true},
		{"an unknown attribute type", "MODIFY", `{"pk":{"X":"report"}}`, store.Change{}, true},
	} {
		change, ok, err := Image(c.event, json.RawMessage(c.image))
		if errors.Is(err, ErrDamaged) != c.damaged || (err != nil) != c.damaged {
			t.Errorf("%s: %v", c.name, err)
		}
		if ok != (c.want != store.Change{}) || ok && change != c.want {
			t.Errorf("%s: %+v, %v", c.name, change, ok)
		}
	}
}

func FuzzImage(f *testing.F) {
	f.Add("MODIFY", imageOf("intent", "wake", mesh.Intent{Token: "wake"}))
	f.Fuzz(func(t *testing.T, event, image string) {
		if _, ok, err := Image(event, json.RawMessage(image)); ok && err != nil {
			t.Errorf("a change and %v", err)
		}
	})
}
