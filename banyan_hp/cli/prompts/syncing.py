"""`pull`, `push` and `diff`: files and prompts side by side. Conflicts are refused, never overwritten."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from ..api import Api, quoted
from ..terminal import DONE, LEFT, CommandError, complain, confirm, counted, say, say_json, table
from .backend import MANAGED, Prompt, one, prompts, with_versions
from .compare import Pair, State, file_of, next_version
from .files import FormatError, PromptFile, from_text, to_text
from .folder import Folder, encoded, place


def pull(api: Api, arguments: Namespace) -> int:
    """Write the newest version of each prompt into its file, unless the file has changes of its own."""
    with Folder(arguments.directory, make=True) as folder:
        found = prompts(api, arguments.branch)
        pairs = [_pair(folder, place(each.branch, each.name), with_versions(api, each)) for each in found]
        for pair in pairs:
            _pull(folder, pair)
    _report(((pair, _pulled(pair)) for pair in pairs), as_json=arguments.json)
    return _settled(pairs)


def diff(api: Api, arguments: Namespace) -> int:
    """What `push` would change, and what `pull` would."""
    with Folder(arguments.directory) as folder:
        pairs = [each for each in _pairs(api, folder, arguments.branch) if each.state is not State.SAME]
    for pair in pairs:
        if arguments.json:
            say_json({**_known(pair), "diff": list(pair.difference())})
        else:
            _show_difference(pair)
    return LEFT if pairs else DONE


def push(api: Api, arguments: Namespace) -> int:
    """Make a version of each file that has changed; nothing, if there is a conflict.

    To release the versions is to release the drafts, too, that were made of the files earlier.
    """
    with Folder(arguments.directory) as folder:
        pairs = _pairs(api, folder, arguments.branch, pushed=True)
        _refuse_conflicts(pairs)
        _mention_older(pairs)
        due = [each for each in pairs if each.state in _PUSHED or (arguments.release and each.is_draft)]
        if due and not _agreed(api, due, arguments):
            return LEFT
        for pair in due:
            version = _push(api, folder, pair, arguments)
            _report_pushed(pair, version, arguments)
    if not due and not arguments.json:
        say("nothing to push")
    return DONE


# -- found ---------------------------------------------------------------------------------------------------


def _pairs(api: Api, folder: Folder, branch: str | None, *, pushed: bool = False) -> list[Pair]:
    """All files and, unless they are to be pushed, all prompts; those of a branch where given."""
    there = {place(each.branch, each.name): each for each in prompts(api, branch)}
    here = [where for where in folder.places() if branch is None or where.startswith(f"{encoded(branch)}/")]
    return [
        _pair(folder, where, with_versions(api, there[where]) if where in there else None)
        for where in sorted({*here, *(() if pushed else there)})
    ]


def _pair(folder: Folder, where: str, prompt: Prompt | None) -> Pair:
    text = folder.read(where)
    if text is None:
        return Pair(where, None, prompt)
    try:
        file = from_text(text)
    except FormatError as error:
        raise CommandError(f"{folder.path / where} can't be used: {error}", LEFT) from error
    if place(file.branch, file.name) != where or (prompt is not None and file.name != prompt.name):
        expected = folder.path / place(file.branch, file.name)
        named = f"{file.name!r} on branch {file.branch!r}"
        raise CommandError(f"{folder.path / where} names the prompt {named}, whose file is {expected}", LEFT)
    return Pair(where, file, prompt)


def _known(pair: Pair) -> dict[str, Any]:
    newest = pair.newest
    return {
        "name": pair.name,
        "branch": pair.branch,
        "file": pair.where,
        "state": pair.state.name.lower(),
        "newest": newest.version if newest is not None else None,
    }


# -- pulled --------------------------------------------------------------------------------------------------


def _pull(folder: Folder, pair: Pair) -> None:
    file = pair.as_pulled()
    if file is not None and file != pair.file and pair.state in _PULLED:
        folder.write(pair.where, to_text(file))


_PULLED = (State.SAME, State.NEW_THERE, State.CHANGED_THERE)
_PUSHED = (State.NEW_HERE, State.CHANGED_HERE)


def _pulled(pair: Pair) -> str:
    if pair.state is State.SAME or pair.newest is None:
        return "unchanged"
    if pair.state in _PULLED:
        return f"pulled {pair.newest.version}"
    return "changed, not pushed yet" if pair.state is State.CHANGED_HERE else f"conflict: {pair.state.value}"


def _report(lines: Iterable[tuple[Pair, str]], *, as_json: bool) -> None:
    rows = []
    for pair, done in lines:
        if as_json:
            say_json({**_known(pair), "done": done})
        rows.append((pair.where, done))
    if rows and not as_json:
        table(rows, indent="")


def _settled(pairs: list[Pair]) -> int:
    conflicts = [each for each in pairs if each.state.is_conflict]
    if conflicts:
        files, them = counted(len(conflicts), "file"), "it" if len(conflicts) == 1 else "them"
        complain(f"{files} left alone: move {them} away and pull again, to have both side by side")
    return LEFT if conflicts else DONE


# -- pushed --------------------------------------------------------------------------------------------------


def _refuse_conflicts(pairs: list[Pair]) -> None:
    conflicts = [each for each in pairs if each.state.is_conflict]
    for pair in conflicts:
        complain(f"{pair.where}: {pair.state.value}")
    if conflicts:
        advice = "'banyan-hp prompts diff' shows it; nothing was pushed"
        raise CommandError(f"{counted(len(conflicts), 'conflict')}; {advice}", LEFT)


def _mention_older(pairs: list[Pair]) -> None:
    for pair in pairs:
        if pair.state is State.CHANGED_THERE:
            complain(f"{pair.where}: {pair.state.value}, not here; 'banyan-hp prompts pull' gets it")


def _agreed(api: Api, due: list[Pair], arguments: Namespace) -> bool:
    if not arguments.json:
        for pair in due:
            _show_difference(pair)
    made = "release " if arguments.release else "push "
    made += counted(len(due), "version" if arguments.release else "draft")
    return arguments.yes or confirm(f"{made.capitalize()} to {api.url}?")


def _push(api: Api, folder: Folder, pair: Pair, arguments: Namespace) -> str:
    """Make or release the version, and note in the file what it has become; the version's name."""
    if pair.file is not None and pair.state in _PUSHED:
        version = _make(api, pair, pair.file, arguments)
    else:
        version = _release(api, pair)
    prompt = one(api, pair.name, pair.branch)
    pushed = prompt.named(version)
    if pushed is not None:  # so that the file's next change follows this one
        folder.write(pair.where, to_text(file_of(prompt, pushed)))
    return version


def _make(api: Api, pair: Pair, file: PromptFile, arguments: Namespace) -> str:
    """A version of the file, if nobody has made another one since."""
    version = next_version(file, pair.prompt)
    body: dict[str, Any] = {
        "name": pair.name,
        "branch": pair.branch,
        "version": version,
        "content": file.content,
        "release": bool(arguments.release),
    }
    if file.config is not None:
        body["config"] = file.config
    if arguments.message:
        body["change_message"] = arguments.message
    if pair.prompt is None:
        api.post(MANAGED, body)
    else:
        api.post(f"{MANAGED}/version", {**body, "after": file.revision})
    return version


def _release(api: Api, pair: Pair) -> str:
    """The draft that the file is."""
    if pair.prompt is None or pair.newest is None:
        return ""
    path = f"{MANAGED}/{quoted(pair.prompt.prompt_id)}/release"
    api.put(path, {"version": pair.newest.version})
    return pair.newest.version


def _report_pushed(pair: Pair, version: str, arguments: Namespace) -> None:
    done = "released" if arguments.release else "draft"
    if arguments.json:
        say_json({**_known(pair), "done": done, "version": version})
    else:
        say(f"{pair.where}: {done} {version}")


def _show_difference(pair: Pair) -> None:
    newest = pair.newest
    draft = f"draft {newest.version}" if pair.is_draft and newest is not None else ""
    say(f"{pair.where}: {draft or pair.state.value}")
    if pair.file is not None:
        for line in pair.difference():
            say(f"  {line}")
