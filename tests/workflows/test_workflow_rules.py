"""What must hold in every workflow: rights, pins, forks, and no two runs on one stack."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.workflows.conftest import GITHUB

Workflows = dict[str, dict[str, Any]]
NOTHING: dict[str, Any] = {"runs": {"steps": []}}


def jobs(workflows: Workflows) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every job with its full name."""
    for name, workflow in workflows.items():
        for job, body in workflow["jobs"].items():
            yield f"{name}.{job}", body


def steps(workflows: Workflows, action: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step of every job and of the composite action."""
    for name, job in jobs(workflows):
        for step in job.get("steps", []):
            yield name, step
    for step in action["runs"]["steps"]:
        yield "actions/pulumi", step


def test_no_right_by_default(workflows: Workflows) -> None:
    """A workflow has no right; each job names its own, and only these four words occur."""
    for name, workflow in workflows.items():
        assert workflow["permissions"] == {}, name
    for name, job in jobs(workflows):
        allowed = {"contents": "read", "id-token": "write", "pull-requests": "write"}
        assert "permissions" in job, name
        if name == "sweep.find":  # looks at pull requests and comments on none
            allowed["pull-requests"] = "read"
        assert job["permissions"].items() <= allowed.items(), name


def test_only_jobs_that_use_the_cloud_get_an_identity(workflows: Workflows) -> None:
    """`id-token: write` stands exactly where the runner is prepared for pulumi."""
    for name, job in jobs(workflows):
        uses_cloud = any(
            step.get("uses") == "./.github/actions/pulumi" for step in job.get("steps", [])
        )
        assert ("id-token" in job["permissions"]) == uses_cloud, name


def test_every_identity_stands_behind_an_environment(workflows: Workflows) -> None:
    """Whoever acts on Google Cloud, a preview too, passes the reviewers of an environment, and the
    service accounts are bound to environments (docs/github.md), never to any pull request.
    """
    for name, job in jobs(workflows):
        if "id-token" in job["permissions"]:
            assert job.get("environment"), name
    assert workflows["preview"]["jobs"]["preview"]["environment"] == "preview"


def test_code_that_nobody_has_read_gets_no_identity(workflows: Workflows) -> None:
    """What Dependabot proposes runs with rights only after a person has merged it."""
    for name in ("preview", "pr-stack"):
        for job in workflows[name]["jobs"].values():
            checks_out_the_change = any(
                step.get("uses", "").startswith("actions/checkout@")
                and "ref" not in step.get("with", {})
                for step in job["steps"]
            )
            if checks_out_the_change:
                assert "github.event.pull_request.user.login != 'dependabot[bot]'" in job["if"]


def test_every_action_is_pinned_by_commit(
    workflows: Workflows, action: dict[str, Any], sources: str
) -> None:
    """An action of others is named by its full commit, with the version it was beside it."""
    seen: dict[str, set[str]] = {}
    for name, step in steps(workflows, action):
        uses = step.get("uses", "./")
        if uses.startswith("./"):
            continue
        repository, _, reference = uses.partition("@")
        assert re.fullmatch(r"[0-9a-f]{40}", reference), (name, uses)
        assert re.search(rf"{re.escape(uses)} # v\d+\.\d+\.\d+$", sources, re.MULTILINE), uses
        seen.setdefault(repository, set()).add(reference)
    assert all(len(references) == 1 for references in seen.values()), seen
    assert {"actions/checkout", "google-github-actions/auth", "pulumi/actions"} <= seen.keys()


def test_no_expression_in_a_shell_line(workflows: Workflows, action: dict[str, Any]) -> None:
    """Values reach a shell as environment, so a branch name cannot become a command."""
    for name, step in steps(workflows, action):
        assert "${{" not in step.get("run", ""), name


def test_checkouts_keep_no_token(workflows: Workflows, action: dict[str, Any]) -> None:
    """The checked-out tree holds no GitHub token for later steps to read."""
    for name, step in steps(workflows, action):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false", name


def test_no_key_of_google_cloud(workflows: Workflows, action: dict[str, Any]) -> None:
    """Google Cloud is reached by workload identity federation and never with a key."""
    auth = [
        step
        for _, step in steps(workflows, action)
        if step.get("uses", "").startswith("google-github-actions/auth@")
    ]
    assert auth
    for step in auth:
        assert set(step["with"]) == {"workload_identity_provider", "service_account"}


def test_no_trigger_that_gives_forks_credentials(workflows: Workflows) -> None:
    """pull_request_target and workflow_run, which run with secrets for a fork, do not occur."""
    for name, workflow in workflows.items():
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(workflow["on"]), (
            name
        )


@pytest.mark.parametrize("name", ["preview", "pr-stack"])
def test_forks_are_told_and_do_not_fail(workflows: Workflows, name: str) -> None:
    """Jobs with an identity skip forks, and another job says why in the run's summary."""
    own = "github.event.pull_request.head.repo.full_name == github.repository"
    other = "github.event.pull_request.head.repo.full_name != github.repository"
    told = False
    for job in workflows[name]["jobs"].values():
        if "id-token" in job["permissions"]:
            assert own in job["if"]
        else:
            told = True
            assert other in job["if"]
            assert "GITHUB_STEP_SUMMARY" in job["steps"][-1]["run"]
    assert told


def test_changes_of_one_stack_never_race(workflows: Workflows) -> None:
    """Deploy and destroy of a stack share one queue, and nothing in it is cut off."""

    def queue(job: dict[str, Any], workflow: dict[str, Any]) -> tuple[str, str]:
        limits = job.get("concurrency") or workflow["concurrency"]
        return limits["group"], limits["cancel-in-progress"]

    groups: dict[str, set[str]] = {}
    for name, workflow in workflows.items():
        for job in workflow["jobs"].values():
            commands = {step.get("with", {}).get("command") for step in job.get("steps", [])}
            if commands & {"up", "destroy"}:
                # A workflow's own queue would be entered by runs whose jobs are then skipped, and
                # a run that enters takes the place of the one that waits.
                assert "concurrency" not in workflow, name
                group, cancels = queue(job, workflow)
                assert cancels == "false", name
                groups.setdefault(name, set()).add(group)
    assert groups == {
        "deploy": {"stack-${{ inputs.environment || 'dev' }}"},
        "destroy": {"stack-${{ inputs.environment }}"},
        "pr-stack": {"stack-pr-${{ github.event.pull_request.number }}"},
        "sweep": {"stack-${{ matrix.stack }}"},
    }


def test_main_goes_to_dev_after_the_checks(workflows: Workflows) -> None:
    """A push to main deploys dev once the checks passed; other environments are started by hand."""
    deploy = workflows["deploy"]
    assert deploy["on"]["push"] == {"branches": ["main"]}
    assert deploy["on"]["workflow_dispatch"]["inputs"]["environment"]["type"] == "environment"
    job = deploy["jobs"]["deploy"]
    assert job["needs"] == "checks"
    assert job["environment"] == "${{ inputs.environment || 'dev' }}"


def test_destroy_asks_twice(workflows: Workflows) -> None:
    """Destroy is started by hand, needs the name typed again, and passes the environment's gate."""
    destroy = workflows["destroy"]
    assert list(destroy["on"]) == ["workflow_dispatch"]
    assert destroy["jobs"]["destroy"]["needs"] == "confirm"
    assert destroy["jobs"]["destroy"]["environment"] == "${{ inputs.environment }}"
    assert "exit 1" in destroy["jobs"]["confirm"]["steps"][0]["run"]


def test_destroy_refuses_a_protected_stack_first(workflows: Workflows) -> None:
    """The step that asks stands before the one that deletes, of the same stack."""
    steps = workflows["destroy"]["jobs"]["destroy"]["steps"]
    names = [step["name"] for step in steps]
    asks = steps[names.index("Refuse a protected stack")]
    assert names.index("Prepare pulumi") < steps.index(asks) < names.index("Destroy")
    assert asks["run"] == 'python -m infra.protection "$STACK"'
    assert asks["env"]["STACK"] == steps[names.index("Destroy")]["with"]["stack-name"]


def test_pr_stack_owns_nothing_shared_and_goes_away(workflows: Workflows) -> None:
    """A pull request's stack is unprotected, owns no registry, and is destroyed and removed."""
    up, down = (workflows["pr-stack"]["jobs"][name] for name in ("up", "down"))
    configure = next(step["run"] for step in up["steps"] if "run" in step)
    assert "tweets:ownsRegistry false" in configure
    assert "tweets:protect false" in configure
    assert down["steps"][-1]["with"]["command"] == "destroy"
    assert down["steps"][-1]["with"]["remove"] == "true"
    assert {"closed", "unlabeled"} <= set(workflows["pr-stack"]["on"]["pull_request"]["types"])


def test_what_a_pull_request_leaves_is_swept(workflows: Workflows) -> None:
    """Every day main's own code destroys and removes the stacks of closed pull requests."""
    sweep = workflows["sweep"]
    assert sweep["on"]["schedule"]
    for job in sweep["jobs"].values():
        assert job["environment"] == "pr-sweep"
    assert "refs/heads/main" in sweep["jobs"]["find"]["if"]
    destroy = sweep["jobs"]["destroy"]["steps"][-1]["with"]
    assert (destroy["command"], destroy["remove"]) == ("destroy", "true")


def test_token_of_x_is_in_no_workflow(sources: str) -> None:
    """GitHub has no copy of X's token: a stack is told the name of the secret that holds it."""
    assert "X_BEARER_TOKEN" not in sources
    assert "config set --secret" not in sources
    assert "tweets:xBearerTokenSecret" in sources


def test_a_value_is_never_taken_for_an_option(workflows: Workflows, action: dict[str, Any]) -> None:
    """What people may write, such as a rule that begins with -, comes after `--`."""
    lines = [
        line.strip()
        for _, step in steps(workflows, action)
        for line in step.get("run", "").splitlines()
        if re.search(r"pulumi config set .*\$", line)
    ]
    assert len(lines) >= 5
    assert [line for line in lines if not re.search(r' -- "\$\w+"', line)] == []


def test_vulnerabilities_stop_no_deploy(workflows: Workflows) -> None:
    """The advisories are asked every day, and by nothing that a deploy needs."""
    asks = {
        name
        for name, workflow in workflows.items()
        if any("pip-audit" in step.get("run", "") for _, step in steps({name: workflow}, NOTHING))
    }
    assert asks == {"supply"}
    assert set(workflows["supply"]["on"]) == {"schedule", "workflow_dispatch"}


def test_nothing_is_installed_without_its_hash(
    workflows: Workflows, action: dict[str, Any]
) -> None:
    """Packages come by the Makefile's hashed locks, a binary with its sha256 beside it."""
    for name, step in steps(workflows, action):
        run = step.get("run", "")
        assert not re.search(r"\b(pip3?|uv|npm|go) (install|tool|pip)\b|\bcurl\b", run), name
        assert ("release download" in run) == ("sha256sum --check" in run), name


def test_federation_is_told_narrowly() -> None:
    """The commands that people copy bind the provider to the repository's number, which can't be
    taken over as a name can, and every account to an environment.
    """
    told = (GITHUB.parent / "docs" / "github.md").read_text("utf-8")
    assert '--attribute-condition="assertion.repository_id==' in told
    subjects = re.findall(r"subject/repo:OWNER/REPO:(\w+)", told)
    assert subjects
    assert set(subjects) == {"environment"}


def test_every_variable_is_explained(sources: str) -> None:
    """What a workflow reads of the repository's settings stands in docs/github.md, and no more."""
    told = (GITHUB.parent / "docs" / "github.md").read_text("utf-8")
    read = set(re.findall(r"\b(?:vars|secrets)\.(\w+)", sources))
    assert len(read) >= 10
    assert {name for name in read if f"`{name}`" not in told} == set()
    named = re.findall(r"`((?:GCP|PULUMI|PR_STACK)_\w+)`", told)
    assert set(named) == read


def test_workflows_and_environments_of_the_page_are_the_files(workflows: Workflows) -> None:
    """docs/github.md tells of every workflow and of every environment that a job waits in."""
    told = (GITHUB.parent / "docs" / "github.md").read_text("utf-8")
    assert [name for name in workflows if f"**{name}**" not in told] == []
    waited_in = {job["environment"] for _, job in jobs(workflows) if "environment" in job}
    fixed = {name for name in waited_in if "inputs." not in name}
    assert fixed == {"preview", "pr-stack", "pr-sweep"}
    assert [name for name in fixed if f"| `{name}` |" not in told] == []


def test_only_mains_code_deploys_destroys_and_sweeps(workflows: Workflows) -> None:
    """A workflow can be started on any branch: what changes a stack that stays is main's code."""
    for name, job in (("deploy", "deploy"), ("destroy", "destroy"), ("sweep", "find")):
        assert "github.ref == 'refs/heads/main'" in workflows[name]["jobs"][job]["if"], name


def test_a_preview_acts_as_an_account_of_its_own(workflows: Workflows) -> None:
    """The account that may only read is the preview's; no other job shares it."""
    for name, job in jobs(workflows):
        for step in job.get("steps", []):
            if step.get("uses") == "./.github/actions/pulumi":
                kind = "PREVIEW" if name == "preview.preview" else "DEPLOY"
                account = f"${{{{ vars.GCP_{kind}_SERVICE_ACCOUNT }}}}"
                assert step["with"]["service-account"] == account, name
