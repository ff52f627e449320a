"""Flat tables of the compiled oracle: kept with their process, and no larger than the kernels."""

import numpy as np
import pytest
import torch

from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.checks import table_bytes
from n2n.oracle.compiled.program import compile_program, program_of
from n2n.oracle.compiled.vectors import NARROW
from n2n.process.process import Process


def test_the_tables_of_a_process_are_made_once_and_go_with_it():
    process = Process(Graph.preset("single"))
    program = program_of(process, np.dtype(np.float64))
    assert program_of(process, np.dtype(np.float64)) is program
    assert program_of(process, np.dtype(np.float32)) is not program


@pytest.mark.parametrize(("dtype", "torch_dtype"), [(np.float64, torch.float64), (np.float32, torch.float32)])
def test_flat_tables_take_as_much_memory_as_the_kernels(dtype, torch_dtype):
    """As the memory budget assumes: of a Markov chain, whose rows have one entry, and with feedback."""
    chain = Graph(nodes=[Node(name="X", num_states=50, observed=True, recurrent=True)])
    nodes = [Node(name="Z", num_states=2, parents=("X",)), Node(name="X", num_states=50, parents=("Z",), observed=True)]
    for graph in (chain, Graph(nodes=nodes)):
        program = compile_program(Process(graph), np.dtype(dtype))
        assert program.emission.nbytes + program.moves.tables.nbytes <= table_bytes(graph, torch_dtype) + 2 * NARROW
