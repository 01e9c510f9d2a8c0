"""
What ``pipmirror`` functions return, for people; anything else is left to Salt's ``nested`` outputter.

``salt-call`` uses this by itself wherever it is synced (``saltutil.sync_all``, or ``-m``). On a master's command line
it can be asked for with ``--out=pipmirror``, once ``salt-run saltutil.sync_output`` has brought it there.
``--out=json`` has everything, unshortened.
"""

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import salt.utils.color


def _beside(name):
    """
    A module that lies beside this one: the loader knows no other way from an outputter to what it needs.
    """
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_page = _beside("pipmirror_page")
Page, SHOWN, LONG = _page.Page, _page.SHOWN, _page.LONG
clean, count, size, some, span, when = _page.clean, _page.count, _page.size, _page.some, _page.span, _page.when

# Stands for the base image of a platform that has none.
HERE = "this machine"
# What lies beside the wheels, where its folder's name alone would mislead.
HEAPS = {"kept": "builds kept for later", "gone": "kept for late readers", "work": "work of builds"}


def output(ret, **_):
    """
    Show the answers of ``pipmirror`` functions, by minion.
    """
    show = SHOWS.get(str(__opts__.get("fun", "")).removeprefix("pipmirror."))
    colors = salt.utils.color.get_colors(__opts__.get("color"), __opts__.get("color_theme"))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    parts = []
    for minion, answer in ret.items():
        if show is None or not isinstance(answer, (dict, list)):
            parts.append(__salt__["nested"]({minion: answer}))
            continue
        page = Page(colors, width)
        show(page, answer)
        if minion != "local" or len(ret) > 1:
            page.lines.insert(0, page.paint("CYAN", f"{minion}:"))
        parts.append("\n".join(page.lines))
    return "\n".join(parts)


# -- what is said -------------------------------------------------------------------------------------------


def pairs(reasons):
    """A line for each requirement or file and its reason, which may name it, or its project, already."""
    return [text if text.startswith(f"{key} ") else f"{key}: {beside(key, text)}" for key, text in reasons.items()]


def beside(key, text):
    """A reason without the project at its beginning, where the requirement before it is of that project."""
    name, _, rest = text.partition(": ")
    own = re.match(r"[A-Za-z0-9._-]+", key)
    return rest if rest and own and re.sub(r"[-_.]+", "-", own[0]).lower() == name else text


def proofs(verified):
    """What a verification has shown, a line for each set."""
    for name, shown in verified.items():
        silent = {project: clean(ran.get("output", "")) for project, ran in shown["ran"].items() if not ran["ok"]}
        failed = some([f"{project} did not start{': ' if said else ''}{said}" for project, said in silent.items()])
        but = f", but {failed}" if silent else ""
        yield f"{name}: {count(shown['installed'], 'wheel')} installed without network{but}"


def needs(wheel):
    """Who needs a wheel, by name; ``-`` for nobody, ``?`` while something is missing and nobody can say."""
    found = (re.fullmatch(r".* \((?:wanted by )?(.*)\)", who) for who in wheel["wanted_by"])
    return some(dict.fromkeys(who[1] for who in found if who)) or ("?" if wheel["undecided"] else "-")


def came(wheel):
    """What a wheel that came in is, and which versions lay there before."""
    before = f" (beside {some(wheel['old'])})" if wheel["old"] else ""
    return f"{wheel['project']} {wheel['version']}{before}"


def verdict(page, name, answer, satisfied):
    """The heading of a platform."""
    number = len(answer["missing"])
    if answer["satisfied"]:
        page.title(name, satisfied, "GREEN")
    else:
        page.title(name, f"{count(number, 'requirement')} {'is' if number == 1 else 'are'} not met", "LIGHT_RED")


# -- what each function returns -----------------------------------------------------------------------------


def plan(page, answer):
    for name, one in answer["platforms"].items():
        work = "nothing to do" if one["nothing_to_do"] else "but there is something to do"
        verdict(page, name, one, f"satisfied by {count(len(one['closure']), 'wheel')}, {work}")
        page.items("not met", pairs(one["missing"]), shown=LONG)
        page.items("to do", one["due"])
        page.items("to be recorded", one["unrecorded"])
        page.items("recorded, but gone", one["vanished"])
        orphans = [f"{name} ({until(one['keep_until'].get(name))})" for name in one["orphans"]]
        page.items("orphans, which no set needs", orphans)
        if one["held"]:
            page.say(f"pruning is held: {one['held']}", color="YELLOW")
        page.items("warnings", one["warnings"], color="YELLOW")
        if "lock" in one:
            lock(page, one["lock"])


def lock(page, coming):
    """What the index was asked for, by ``resolve=True``."""
    if "error" in coming:
        page.say(f"from the index: {coming['error']}", color="YELLOW")
        return
    files = coming["files"]
    page.say(f"would come from the index: {total(coming) if files else 'nothing'}")
    page.table([[size(file["size"]), file["kind"], f"{name}{instead(file['old'])}"] for name, file in files.items()])
    page.items("not to be had", pairs(coming["missing"]), color="LIGHT_RED", shown=LONG)
    page.items("only a build could tell", pairs(coming["undecided"]))
    page.items("warnings", coming["warnings"], color="YELLOW")


def total(coming):
    """How many files, and how large: some indexes do not say that of every file."""
    files = count(len(coming["files"]), "file")
    unknown = sum(1 for file in coming["files"].values() if file["size"] is None)
    if unknown == len(coming["files"]):
        return f"{files} of unknown size"
    return f"{files}, {size(coming['bytes'])}" + (f" and {unknown} of unknown size" if unknown else "")


def instead(versions):
    return f" (here: {', '.join(versions)})" if versions else ""


def status(page, answer):
    for name, one in answer.items():
        verdict(page, name, one, "satisfied")
        orphans = "none" if one["satisfied"] else "nobody can say while something is missing"
        if one["orphans"]:
            orphans = f"{one['orphans']}, {size(one['orphan_bytes'])}; {until(one['orphans_until'])}"
        page.facts(
            {
                "wheels": f"{one['wheels']}, {size(one['bytes'])}; {one['built_here']} of them built here",
                "orphans": orphans,
                "target": f"Python {one['python']}, pip {one['pip']}" if one["python"] else "never profiled",
                "last complete sync": when(one["last_sync"]),
                **({"last failure": f"{when(one['last_failure'])}: {one['failure']}"} if one["failure"] else {}),
                "look for upgrades": when(one["last_look"]),
                **_place(one),
                "verified": "; ".join(proofs(one["verified"])) or "no",
            }
        )
        page.items("not met", pairs(one["missing"]), shown=LONG)
        page.items("to do", one["due"])
        if one["held"]:
            page.say(f"pruning is held: {one['held']}", color="YELLOW")
        _upstream(page, one["yanked"], one["withdrawn"])
        _here(page, one.get("yanked_here", {}))


def _place(one):
    """Where a platform's Python runs, and since when that is known."""
    made, source = when(one["image_made"]), one["image_source"]
    if source == HERE:
        return {"profiled": f"{made}; {HERE}'s own Python, without containers"}
    return {"image": made + (f"; base image: {source}" if source else "")}


def until(stamp):
    """From when on what nobody needs may go."""
    return f"may go from {stamp[:10]}" if stamp else "its days begin with the next sync"


def wheels(page, answer):
    for name, files in answer.items():
        total = size(sum(file["size"] for file in files.values()))
        page.title(name, f"{count(len(files), 'wheel')}, {total}", "CYAN")
        rows = [
            [size(about["size"]), about["origin"], about["sha256"][:12], needs(about), file]
            for file, about in files.items()
        ]
        page.table([["size", "origin", "sha256", "needed by", "wheel"], *rows] if rows else [], indent=2)
        yanked = {file: about["yanked"] for file, about in files.items() if about["yanked"] is not None}
        _upstream(page, yanked, [file for file, about in files.items() if about["withdrawn"]])
        _here(page, {file: why for file, about in files.items() if (why := about.get("yanked_here")) is not None})


def _upstream(page, yanked, withdrawn):
    page.items("yanked upstream", _reasons(yanked), color="YELLOW")
    page.items("withdrawn upstream", withdrawn, color="YELLOW")


def _here(page, yanked):
    page.items("yanked here", _reasons(yanked), color="YELLOW")


def _reasons(yanked):
    return [f"{file}: {why or 'no reason given'}" for file, why in yanked.items()]


def why(page, answer):
    for name, one in answer.items():
        served = list(dict.fromkeys(found["file"] for found in one["sets"].values() if found["file"]))
        page.title(name, f"{one['project']} {_verdict_of(one, served)}", "GREEN" if served else "YELLOW")
        for label, found in one["sets"].items():
            _chains(page, f"set {label}" + (f": {found['file']}" if len(served) > 1 else ""), found)
        lying = [file for file in one["files"] if file not in served and file not in one["orphans"]]
        page.items("lies there as well", lying)
        page.items("orphans, which no set needs", one["orphans"], color="YELLOW")
        page.items("of no use to pip", one["broken"].values(), color="YELLOW")
        yanked = {file: why for file, about in one["files"].items() if (why := about.get("yanked")) is not None}
        page.items("yanked, for who pins it (==) alone", _reasons(yanked), color="YELLOW")
        page.items("declared, but not for this platform", one["not_here"])
        if one["note"]:
            page.say(one["note"], color="YELLOW")
        elif one["undecided"]:
            sets = some(one["undecided"])
            page.say(f"not satisfied, so that nobody can say what else they need: {sets}; see pipmirror.plan")


def _verdict_of(one, served):
    if served:
        return f"is {some(served)}"
    if one["sets"]:
        return "is wanted, but by sets that are not satisfied"
    if not one["files"]:
        return "is not known here"
    return "lies there; who needs it, nobody can say" if one["undecided"] else "is needed by no set"


def _chains(page, label, found):
    chains = [" -> ".join([f"{chain[0]} (declared)", *chain[1:]]) for chain in found["chains"]]
    page.items(label, chains)
    if found["more"]:
        page.say(f"there are more chains than these {len(chains)}, which are the shortest", 4, "YELLOW")
    page.items("not met", pairs(found["missing"]), 4, "LIGHT_RED")


def done(page, answer):
    """
    What ``sync``, ``prepare``, ``verify`` and ``publish`` have done.
    """
    if "result" not in answer:
        drift(page, answer)
        return
    for name, one in answer["platforms"].items():
        end = "done in" if one["result"] else "failed after"
        page.title(name, f"{end} {one['seconds']} s", "GREEN" if one["result"] else "LIGHT_RED")
        if one["comment"]:
            page.say(one["comment"])
        page.facts(preparation(one))
        added = one["added"]
        page.table([[size(about["size"]), about["origin"], came(about), file] for file, about in added.items()])
        page.items("removed", pairs({file: about["reason"] for file, about in one["removed"].items()}))
        page.items("verified", proofs(one.get("verified", {})))
    page.say(answer["comment"], 0)


def prune(page, answer):
    """
    What has gone, or would go.
    """
    for name, one in answer["platforms"].items():
        sizes = {file: about.get("size", 0) for file, about in one["removed"].items()}
        color = "YELLOW" if one["held"] else "GREEN"
        what = f"{count(len(sizes), 'wheel')}, {size(sum(sizes.values()))}" if sizes else "no wheel is to go"
        page.title(name, what, color if one["result"] else "LIGHT_RED")
        if one["comment"]:
            page.say(one["comment"])
        page.table([[size(sizes[file]), file, about["reason"]] for file, about in one["removed"].items()])
        page.items("not needed from now on", one["unneeded"]["noted"])
        page.items("needed again, or gone", one["unneeded"]["dropped"])
        page.facts(heaps(one["leftovers"]))
    page.facts(heaps(answer["leftovers"]))
    _images(page, "builder images that no platform of this pillar uses:", answer["images"])
    page.say(answer["comment"], 0)


def _images(page, heading, images):
    rows = [[size(about["size"]), about["kind"], about["platform"], when(about["made"])] for about in images.values()]
    if rows:
        page.say(heading, 0)
        page.table([["size", "image", "platform", "made"], *rows], indent=2)


def clean_up(page, answer):
    """
    What ``clean`` has taken back, or would.
    """
    for name, one in answer["platforms"].items():
        found = one["leftovers"].values()
        total = f"{count(sum(about['files'] for about in found), 'file')}, {size(sum(a['size'] for a in found))}"
        page.title(name, total if found else "nothing lies there", "GREEN" if one["result"] else "LIGHT_RED")
        if one["comment"]:
            page.say(one["comment"])
        page.facts(heaps(one["leftovers"]))
    if answer["leftovers"]:
        page.say("what platforms share:", 0)
        page.facts(heaps(answer["leftovers"]))
    _images(page, "builder images:", answer["images"])
    page.items("containers that killed runs have left", answer["containers"].values(), 0)
    page.say(answer["comment"], 0)


def heaps(leftovers):
    """
    How much of what lies beside the wheels.
    """
    return {
        HEAPS.get(folder, folder): f"{count(about['files'], 'file')}, {size(about['size'])}"
        for folder, about in leftovers.items()
    }


def preparation(one):
    """What was found or made besides wheels."""
    told = {}
    if "image" in one and one["image"]["source"] == HERE:
        told["place"] = f"{HERE}, without containers"
    elif "image" in one:
        kept = "kept" if one["image"]["reused"] else "made anew"
        told["image"] = f"{kept}; base image: {one['image']['source']}"
    if "profile" in one:
        told["target"] = f"Python {one['profile']['python']}, pip {one['profile']['pip']}, {one['profile']['tag']}"
    if "published" in one:
        told["pages"] = f"{one['published']['written']} written, {one['published']['removed']} removed"
    return told


def drift(page, answer):
    """What ``publish test=True`` would do."""
    for name, pages in answer["platforms"].items():
        clean_already = not (pages["written"] or pages["removed"])
        page.title(name, "every page is up to date" if clean_already else "pages differ from what lies there", "CYAN")
        page.items("to be written", pages["written"])
        page.items("to be removed", pages["removed"])


def platforms(page, answer):
    for name, one in answer.items():
        page.title(name, f"{one['target']}; highstate: {one['highstate']}", "CYAN")
        for platform, declared in one["platforms"].items():
            page.say(f"{platform}: {declared['image'] or HERE}, in {declared['directory']}")
            for label, requirements in declared["sets"].items():
                page.say(f"set {label}: {some(requirements, SHOWN) or 'empty'}", 4)


def faults(page, answer):
    page.items("faults of the declaration", answer, 0, "LIGHT_RED", LONG)
    if not answer:
        page.say("The declaration has no faults.", 0, "GREEN")


SHOWS = {
    "clean": clean_up,
    "faults": faults,
    "plan": plan,
    "platforms": platforms,
    "prepare": done,
    "prune": prune,
    "publish": done,
    "status": status,
    "sync": done,
    "verify": done,
    "wheels": wheels,
    "why": why,
}
