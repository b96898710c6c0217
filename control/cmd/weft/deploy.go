package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"weft/control/local"
	"weft/control/mesh"
	"weft/control/partition"
	"weft/control/provision"
	"weft/control/store"
	"weft/control/store/storeurl"
	"weft/loadtest/scenario"
	"weft/loadtest/stage"
)

// endpointVariable is the one switch to an emulator of AWS.
const endpointVariable = "AWS_ENDPOINT_URL"

// environment are the flags of the commands that change what is deployed.
type environment struct {
	Env   string `help:"The environment: every name begins with weft-ENV." default:"dev"`
	Yes   bool   `short:"y" help:"Do not ask."`
	State string `help:"Keep Terraform's state there instead of on this machine: s3://BUCKET/KEY?region=REGION." placeholder:"URL"`
}

// open opens the stack for f.
func (e *environment) open(s *session, f func(*provision.Stack) error) (err error) {
	if os.Getenv(endpointVariable) != "" && cmp.Or(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_PROFILE")) == "" {
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} { // emulators take any
			if err := os.Setenv(name, "testing"); err != nil {
				return err
			}
		}
	}
	stack, err := provision.Open(s.ctx, provision.Options{Env: e.Env, State: e.State, Environ: os.Environ(), Say: s.say})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	return f(stack)
}

// say tells how far a command is.
func (s *session) say(line string) { fmt.Fprintln(s.errs, line) }

// confirmed asks, unless it was told not to.
func (e *environment) confirmed(s *session, question string) error {
	if e.Yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("nobody is here to be asked; add --yes")
	}
	fmt.Fprintf(s.errs, "%s Type yes: ", question)
	answer, err := bufio.NewReader(io.LimitReader(os.Stdin, 64)).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return errors.Join(errors.New("nothing was done"), err)
	}
	return nil
}

type deploy struct {
	environment
	Region   string            `help:"AWS region, the first time." env:"AWS_REGION,AWS_DEFAULT_REGION" placeholder:"NAME"`
	World    string            `help:"Scenario whose world a new shard begins with: a name that ships with Weft, or a file." default:"tavern"`
	Launcher string            `help:"What runs nodes and gateways: ecs (Fargate), ec2, or both in the order in which they are asked: ecs,ec2." placeholder:"NAME"`
	MaxNodes int               `help:"Most nodes at a time." placeholder:"N"`
	Arch     string            `help:"arm64 (the default in the cloud) or x86_64." placeholder:"NAME"`
	Zips     string            `help:"Folder of the functions' zips, instead of building them from the source." placeholder:"DIR" type:"path"`
	Set      map[string]string `help:"Any other variable of infra/variables.tf, as NAME=VALUE." placeholder:"NAME=VALUE"`
	PlanOnly bool              `help:"Say what would be done, and do nothing."`
}

// Run plans, asks and applies; then it makes the world if there is none.
func (d *deploy) Run(s *session) error {
	world, err := scenario.Open(d.World, "")
	if err != nil {
		return err
	}
	return d.open(s, func(stack *provision.Stack) error {
		v, err := d.variables(s, stack)
		if err != nil {
			return err
		}
		if err := d.taken(s.ctx, stack, v); err != nil {
			return err
		}
		if err := d.dropped(s.ctx, stack, v); err != nil {
			return err
		}
		s.say("asking what there is")
		plan, err := stack.Plan(s.ctx, v)
		if err != nil {
			return err
		}
		fmt.Fprintln(s.out, plan)
		if d.PlanOnly {
			return nil
		}
		if !plan.Empty() {
			if err := d.confirmed(s, "Do it?"); err != nil {
				return err
			}
			if err := stack.Apply(s.ctx, plan); err != nil {
				return d.halfMade(stack, err)
			}
		}
		out, err := stack.Output(s.ctx)
		if err != nil {
			return err
		}
		if err := found(s.ctx, out.StoreURL, world, v); err != nil {
			return fmt.Errorf("everything is deployed, but the world is not made; deploy once more: %w", err)
		}
		fmt.Fprintf(s.out, "%s is deployed. Your backend asks for tickets at %s\n", out.Prefix, out.JoinURL)
		if registry, ok := strings.CutSuffix(out.Repositories["node"], "/node"); ok && os.Getenv(endpointVariable) == "" {
			fmt.Fprintf(s.out, "Nodes and gateways run from images: infra/images/build.sh %s %s builds and pushes them.\n", goArch(v["arch"]), registry)
		}
		return nil
	})
}

// taken refuses to deploy over a world that somebody else deployed. AWS would
// let some of its parts be taken over without a word.
func (d *deploy) taken(ctx context.Context, stack *provision.Stack, v provision.Variables) error {
	left, err := stack.Left(ctx)
	if err != nil || len(left) > 0 {
		return err
	}
	st, err := storeurl.Open(ctx, fmt.Sprintf("dynamodb://weft-%s?region=%v", d.Env, v["region"]))
	if err != nil {
		return err
	}
	version, err := st.LayoutVersion(ctx)
	if errors.Join(err, st.Close()) != nil {
		return nil // no tables, or nobody answers, which Terraform says better
	}
	return fmt.Errorf("environment %s is taken: there are tables of it in %v (layout %d), and its state is not in %s; choose another --env, or deploy from where its state is, or give that with --state", d.Env, v["region"], version, stack.Dir())
}

// dropped refuses to take a launcher from the functions that still has machines:
// they would run on, and nobody would see them.
func (d *deploy) dropped(ctx context.Context, stack *provision.Stack, v provision.Variables) error {
	was, err := stack.Deployed()
	if err != nil || was == nil || launcherOf(was) == launcherOf(v) {
		return err
	}
	st, err := storeurl.Open(ctx, fmt.Sprintf("dynamodb://weft-%s?region=%v", d.Env, v["region"]))
	if err != nil {
		return err
	}
	processes, err := st.Processes(ctx)
	if errors.Join(err, st.Close()) != nil {
		return nil // no tables yet, or nobody answers, which Terraform says better
	}
	if held := forgotten(was, v, processes); len(held) > 0 {
		return fmt.Errorf("launcher %v would leave machines behind that its functions do not see: %s; deploy first with both launchers, the new one first, and --set warm_instances=0, wait until these have ended, and repeat", launcherOf(v), strings.Join(held, ", "))
	}
	return nil
}

func launcherOf(v provision.Variables) string {
	name, _ := v["launcher"].(string)
	return cmp.Or(name, "ecs") // as in infra/variables.tf
}

// forgotten names what is of a launcher that was deployed and no longer is to be.
func forgotten(was, is provision.Variables, processes []mesh.Process) (held []string) {
	for _, l := range strings.Split(launcherOf(was), ",") {
		if slices.Contains(strings.Split(launcherOf(is), ","), l) {
			continue
		}
		for _, p := range processes {
			if task := strings.HasPrefix(p.Kind, "FARGATE"); p.State != mesh.Stopped && task == (l == "ecs") {
				held = append(held, string(p.ID))
			}
		}
		if warm, given := was["warm_instances"]; l == "ec2" && (!given || fmt.Sprint(warm) != "0") {
			held = append(held, "the warm pool")
		}
	}
	return held
}

// goArch is Lambda's name of an architecture in Go's words.
func goArch(arch any) string {
	if arch == "x86_64" {
		return "amd64"
	}
	return "arm64"
}

// halfMade says what an apply that failed has left.
func (d *deploy) halfMade(stack *provision.Stack, cause error) error {
	left, err := stack.Left(context.Background())
	if err != nil || len(left) == 0 {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w. %d resources are made and remembered: deploy once more to go on, or take them away with weft destroy --env %s", cause, len(left), d.Env)
}

// variables are those of the last deployment as the flags change them.
func (d *deploy) variables(s *session, stack *provision.Stack) (provision.Variables, error) {
	was, err := stack.Deployed()
	if err != nil {
		return nil, err
	}
	emulator := os.Getenv(endpointVariable) != ""
	v := provision.Variables{"arch": "arm64", "emulator": emulator}
	if emulator && runtime.GOARCH == "amd64" {
		v["arch"] = "x86_64" // the functions run on this machine
	}
	maps.Copy(v, was)
	delete(v, "deletion_protection") // a destroy that did not end has turned it off
	for name, text := range d.Set {
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		v[name] = value
	}
	for name, value := range map[string]string{"launcher": d.Launcher, "arch": d.Arch, "region": d.Region} {
		if value != "" {
			v[name] = value
		}
	}
	if d.MaxNodes != 0 {
		v["max_nodes"] = d.MaxNodes
	}
	if v["region"] == nil {
		return nil, errors.New("no region is given; add --region, such as --region eu-central-1, or set AWS_REGION")
	}
	v["zips"] = d.Zips
	if d.Zips == "" {
		here, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		source := provision.FindSource(here)
		if source == "" {
			return nil, errors.New("functions are built from Weft's source, which is not here; run this in a checkout, or give their zips with --zips")
		}
		zips := filepath.Join(stack.Dir(), "zips")
		s.say("building the functions")
		arch, _ := v["arch"].(string)
		if err := provision.BuildFunctions(s.ctx, source, zips, arch, provision.Functions); err != nil {
			return nil, err
		}
		v["zips"] = zips
	}
	zips, _ := v["zips"].(string)
	return v, provision.CheckFunctions(zips)
}

// found makes the world in the store if there is none, and lets a stopped one
// wake again.
func found(ctx context.Context, url string, s *scenario.Scenario, v provision.Variables) (err error) {
	cfg, err := stage.Config(s)
	if err != nil {
		return err
	}
	if name, ok := v["shard"].(string); ok {
		cfg.Shard.Name = name
	} else {
		cfg.Shard.Name = "weft" // as in infra/variables.tf
	}
	policy, ok := v["policy"].(string)
	if !ok {
		policy = "kdsplit"
	}
	boxes, err := partition.Genesis(policy, cfg.Shard, max(cfg.Zones, 1))
	if err != nil {
		return err
	}
	st, err := storeurl.Open(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := local.Found(ctx, st, cfg.Shard, boxes, cfg.Chunks); err != nil {
		return err
	}
	return provision.Resume(ctx, st)
}

type destroy struct {
	environment
	Patience time.Duration `help:"How long the deployed functions may take to empty the world." default:"10m"`
	Force    bool          `help:"Go on although something still runs, or the store does not answer."`
}

// Run stops the world, waits until it is empty, and takes everything away.
func (d *destroy) Run(s *session) error {
	return d.open(s, func(stack *provision.Stack) error {
		left, err := stack.Left(s.ctx)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			fmt.Fprintf(s.out, "Nothing of %s is deployed, as far as %s knows.\n", d.Env, stack.Dir())
			return stack.Destroy(s.ctx)
		}
		if err := d.confirmed(s, fmt.Sprintf("This removes %d resources of %s, the world in its tables included, for good.", len(left), d.Env)); err != nil {
			return err
		}
		out, err := stack.Output(s.ctx)
		if err != nil {
			return err
		}
		if err := d.rest(s, out.StoreURL, sweeps(left)); err != nil {
			return err
		}
		if err := stack.Destroy(s.ctx); err != nil {
			return d.stillThere(stack, err)
		}
		fmt.Fprintf(s.out, "Nothing of %s is left, but for the tables' key, which AWS deletes after seven days at no cost.\n", d.Env)
		return nil
	})
}

// sweeps reports whether what is deployed includes all that calls function sweep,
// where it is now or where older versions had it (infra/moved.tf.json).
func sweeps(deployed []string) bool {
	for _, kind := range []string{"aws_lambda_function", "aws_cloudwatch_event_target", "aws_lambda_permission", "aws_iam_role_policy"} {
		if !slices.Contains(deployed, "module.sweep."+kind+".this") && !slices.Contains(deployed, kind+".sweep") {
			return false
		}
	}
	return true
}

// rest empties the world, if its tables were made; with a sweep that looks for
// what no record names.
func (d *destroy) rest(s *session, url string, swept bool) error {
	if url == "" {
		return nil // an apply that failed early
	}
	st, err := storeurl.Open(s.ctx, url)
	if err != nil {
		return err
	}
	s.say("stopping the world")
	running, err := provision.Empty(s.ctx, st, d.Patience, swept, s.say)
	err = errors.Join(err, st.Close())
	switch {
	case s.ctx.Err() != nil:
		return fmt.Errorf("the world is set to stopped, and nothing was removed: %w", s.ctx.Err())
	case errors.Is(err, store.ErrUnavailable) && d.Force, err == nil && len(running) == 0:
		return nil
	case err != nil:
		return fmt.Errorf("%w; nothing was removed, and --force goes on without emptying the world", err)
	case d.Force:
		s.say("going on although these run: " + strings.Join(running, ", "))
		return nil
	}
	return fmt.Errorf("after %s these still run: %s; nothing was removed; see in the logs of replan and sweep why they are not stopped and repeat, or go on with --force", d.Patience, strings.Join(running, ", "))
}

// stillThere says what a destroy that failed has left.
func (d *destroy) stillThere(stack *provision.Stack, cause error) error {
	const shown = 10
	left, err := stack.Left(context.Background())
	if err != nil {
		return errors.Join(cause, err)
	}
	names := strings.Join(left[:min(len(left), shown)], ", ")
	if len(left) > shown {
		names += " …"
	}
	return fmt.Errorf("%w. %d resources are left and remembered, %s: repeat weft destroy --env %s", cause, len(left), names, d.Env)
}
