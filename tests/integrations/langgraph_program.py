"""A LangGraph graph with X-Ray, interrupted and resumed: prints what it answered each time."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

import xray_otel as xray
from xray_otel.integrations.langgraph import recorded_node, settle

runs: Counter[str] = Counter()


class State(TypedDict, total=False):
    prices: list[int]
    chosen: int


@recorded_node("approved", type="search")
def search(state: State) -> State:
    runs["search"] += 1
    if runs["search"] == 1:
        raise ConnectionError("flaky")
    return {"prices": [1, 2, 3]}


@recorded_node("approved")
@xray.step(type="filter")
async def approve(state: State) -> State:
    runs["approve"] += 1
    limit = interrupt("how much at most?")
    return {
        "prices": xray.current_step().filter(state["prices"], lambda p: p <= limit or xray.Reject("too_dear"))
    }


@recorded_node("approved", type="select")
def select(state: State) -> State:
    runs["select"] += 1
    return {"chosen": max(state["prices"])}


async def main(thread_id: str) -> None:
    graph = StateGraph(State)
    graph.add_node(
        "search", search, retry_policy=RetryPolicy(initial_interval=0.01, retry_on=ConnectionError)
    )
    graph.add_node("approve", approve)
    graph.add_node("select", select)
    for start, end in ((START, "search"), ("search", "approve"), ("approve", "select"), ("select", END)):
        graph.add_edge(start, end)
    compiled = graph.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": thread_id}}
    turns: list[Any] = [{}, Command(resume=2)]
    for given in turns:
        result = await compiled.ainvoke(given, config)
        settle("approved", config, result)
        assert xray.flush(30.0)
        sys.stdout.write(json.dumps({"chosen": result.get("chosen"), "runs": runs}) + "\n")
        sys.stdout.flush()
        sys.stdin.readline()


if __name__ == "__main__":
    import asyncio

    asyncio.run(main(sys.argv[1]))
