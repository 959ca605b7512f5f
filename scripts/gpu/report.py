"""The report: JSON for programs and Markdown for people, written again when each stage ends."""

from __future__ import annotations

import json
import sys
import time

from gpu.work import is_gpu, is_stand_in, replace, table


class Report:
    """What was found so far.

    Parameters
    ----------
    stages : sequence of Stage
        All that shall run, in their order.
    about : dict
        What the check was asked for.
    json_paths, markdown_paths : sequence of Path
        The files to write.
    """

    def __init__(self, stages, about, json_paths=(), markdown_paths=()):
        self.names = [stage.name for stage in stages]
        self.about = {"started": time.strftime("%Y-%m-%d %H:%M:%S %z"), **about}
        self.json_paths, self.markdown_paths = json_paths, markdown_paths
        self.results, self.refusal, self.exit_code = [], "", None

    @property
    def device(self):
        """The device that was checked, in words, or None if no stage came so far."""
        return next((r["device"] for r in self.results if r["device"]), None)

    def add(self, result):
        """A stage has ended."""
        self.results.append(result)
        self.write()

    def refuse(self, reason):
        """Nothing is checked, for this reason."""
        self.refusal = reason
        self.finish(2)

    def finish(self, code):
        """All stages have ended that will; gives the exit code, 1 if the report is not written."""
        self.exit_code = code
        if not self.write():
            self.exit_code = code or 1
        return self.exit_code

    def write(self):
        """Write the files, each whole or not at all; whether all of them could be written."""
        as_json = json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n"
        texts = dict.fromkeys(self.json_paths, as_json)
        texts |= dict.fromkeys(self.markdown_paths, self.as_markdown())
        written = True
        for path, text in texts.items():
            try:
                replace(path, text)
            except OSError as error:
                written = False
                print(f"gpu_check: the report cannot be written: {error}", file=sys.stderr)
        return written

    def as_json(self):
        device = self.device
        return {
            "title": self.title,
            "device": device,
            "gpu": bool(device) and is_gpu(device),
            "stand_in": bool(device) and is_stand_in(device),
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "refusal": self.refusal,
            "about": self.about,
            "stages": self.results,
            "waiting": self.waiting,
        }

    @property
    def title(self):
        """The first line, which says whether this was a GPU."""
        device = self.device
        if self.refusal:
            return "GPU check: nothing was checked"
        if device is None:
            return "GPU check, on a device that is not known"
        if is_stand_in(device):
            return f"GPU check on a stand-in, not a GPU: {device}"
        return f"GPU check on {device}{'' if is_gpu(device) else ', not a GPU'}"

    @property
    def waiting(self):
        """The stages that have not ended."""
        done = {result["name"] for result in self.results}
        return [name for name in self.names if name not in done]

    @property
    def verdict(self):
        """The outcome of all stages in a line."""
        if self.refusal:
            return f"REFUSED: {self.refusal}"
        counts = {}
        for result in self.results:
            counts[result["outcome"]] = counts.get(result["outcome"], 0) + 1
        if self.waiting:
            counts["not run"] = len(self.waiting)
        word = {None: "UNFINISHED", 0: "PASSED", 1: "FAILED"}.get(self.exit_code, "STOPPED")
        return f"{word}: {', '.join(f'{n} {outcome}' for outcome, n in counts.items())}"

    def as_markdown(self):
        lines = [f"# {self.title}", "", self.verdict, ""]
        lines += [f"* {key}: {value}" for key, value in self.about.items()]
        if self.refusal:
            return "\n".join(lines) + "\n"
        rows = [
            (r["name"], r["outcome"], f"{r['seconds']:.1f}", f"{r['limit']:g}", r["reason"])
            for r in self.results
        ]
        rows += [(name, "not run", "", "", "") for name in self.waiting]
        lines += ["", *table(("stage", "outcome", "seconds", "limit", "reason"), rows)]
        for result in self.results:
            lines += ["", f"## {result['name']}: {result['title']}", ""]
            reason = f": {result['reason']}" if result["reason"] else ""
            lines += [f"{result['outcome']} after {result['seconds']:.1f} s{reason}"]
            lines += ["", *result["text"]] * bool(result["text"])
            if result["printed"].strip() and result["outcome"] != "passed":
                printed = result["printed"].replace("```", "'''").rstrip()
                lines += ["", "It printed last:", "", "```text", printed, "```"]
        return "\n".join(lines) + "\n"
