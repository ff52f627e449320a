"""The exact oracle: the best possible predictor of a process, and its beliefs about the latent nodes.

>>> process = n2n.Process(n2n.Graph.random_dag(4, 0.5, seed=0), seed=0)
>>> sample = process.sample(16, length=128)
>>> edited = process.sample(16, length=128, do={"Z1": (40, 3)})  # sets Z1 at t = 40; other random numbers stay the same
>>> beliefs = n2n.filter(process, sample.tokens, beliefs=True).beliefs["Z1"]  # P(z_t | x_<=t), (16, 128, 4)
>>> smoothed = n2n.smooth(process, sample.tokens).beliefs["Z1"]  # P(z_t | all tokens)
>>> path = n2n.decode(process, sample.tokens).latents["Z1"]  # the most probable path
>>> influence = n2n.token_influence(process, sample.tokens)  # (16, 127, 127), nats: the effect of hiding x_s on x_{q+1}

Losses of predictors, in nats per token:

- ``n2n.filter(process, tokens).nll``: the best predictor that knows the kernels.
- ``n2n.mean_field(process, tokens).nll``: the filter that treats latents as independent after each token.
- ``n2n.told_nll(process, tokens, sequences)``: the best predictor that knows the kernels redrawn for each sequence.
- ``n2n.in_context_nll(process, tokens).nll``: the best predictor that has to learn redrawn kernels from the sequence.
  It is exact for counts of what is seen, for a pool of kernel sets and for small latents; else the result includes the
  standard error of the loss.
- ``n2n.mixture_nll(processes, tokens)``: the best predictor that knows a finite set of processes, one of which it is.
- ``n2n.markov_nll(process, tokens, k)``: the best predictor that sees only the last k tokens.
- ``n2n.fit_ngram(train, vocab_size, order).nll(tokens)``: smoothed n-grams of any order, fitted to sequences.
- ``n2n.compression_nats(tokens, vocab_size)``: LZMA and bz2.

Properties of a process:

>>> entropy = n2n.entropy(process, length=128, precision=0.1)  # mean oracle loss with its standard error
>>> rate = n2n.entropy_rate(process, length=128)  # proven bounds on the entropy rate, and an estimate
>>> edges = n2n.edge_information(process, length=32)  # exact mutual information between the two nodes of each edge
>>> graph = n2n.calibrate(process.graph, 1.0, "X", seeds=range(2), sequences=4).graph  # X's alpha at 1 nat per token

A filter step moves one latent, or a small group of them, at a time. It never builds the S x S matrix of the S joint
states. Tokens may be lists, numpy arrays, torch tensors or pandas columns of integers. On a CPU everything runs
compiled; the first call on a machine compiles for some seconds. ``float64`` is the default, and ``dtype=torch.float32``
is up to twice as fast on large batches.
"""
