"""
The walk-through of ``xray demo``: real pipelines, then the questions about a bad match.
"""

from __future__ import annotations

import sys
from dataclasses import asdict

from rich.console import Console

from cli.demo_options import DemoOptions, Endpoints
from cli.demo_print import print_story
from cli.demo_story import ask
from cli.tables import print_json, print_line, warning_console

PIPE_WIDTH = 100


def run_demo(endpoints: Endpoints, options: DemoOptions) -> int:
    """
    Run the example pipelines against running servers, ask the API why one match is wrong, and print it.

    Returns 0 when every answer came and, with the generated catalogue, names the step at fault; 1 when
    the answers came and name none. Raises ``cli.errors.Failure`` when a pipeline or a question fails.
    """
    progress = warning_console()
    story = ask(endpoints, options, lambda line: print_line(line, progress))
    explained = story.explanation["suspect"] is not None
    if options.json_output:
        print_json({"explained": explained, **asdict(story)})
    else:
        # A pipe has no width; on a terminal Console takes the terminal's.
        width = None if sys.stdout.isatty() else PIPE_WIDTH
        print_story(story, Console(highlight=False, soft_wrap=True, width=width))
        if options.keep:
            progress.print()
            print_line(f"XRAY_API_URL={endpoints.api} ./xray explain {story.bad_match['run_id']}", progress)
    return 0 if explained or options.catalog is not None else 1
