"""Sequence operations: a fast parallel version of each, and a slow readable twin to test it against."""

from n2n.models.ops.conv import causal_conv1d, causal_conv1d_sequential, silu_conv1d
from n2n.models.ops.duality import decay_matrix, ssd, ssd_matrix, ssd_sequential
from n2n.models.ops.kernels import Kernels, require_fused
from n2n.models.ops.norm import RMSNorm, gated_norm
from n2n.models.ops.rotary import rotary_turns, rotate, rotate_real
from n2n.models.ops.scan import linear_scan, linear_scan_chunked, linear_scan_sequential, scan_matrix

__all__ = [
    "Kernels",
    "RMSNorm",
    "causal_conv1d",
    "causal_conv1d_sequential",
    "decay_matrix",
    "gated_norm",
    "linear_scan",
    "linear_scan_chunked",
    "linear_scan_sequential",
    "require_fused",
    "rotary_turns",
    "rotate",
    "rotate_real",
    "scan_matrix",
    "silu_conv1d",
    "ssd",
    "ssd_matrix",
    "ssd_sequential",
]
