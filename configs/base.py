"""Every field of every run, once, with its meaning, unit and source. Start from it; do not run it.

    def get_config(arg=None):
        config = base.get_config()
        config.sft.steps = 100
        return ablations.apply(config, arg)
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.name = "base"
    c.ablation = ""  # the row that was applied, of configs/ablations.py or of the config itself
    c.seed = 0  # decides everything: problems, weights, batches, samples, resampling
    c.stages = "problems,sft,rl,belief,eval,report"  # which stages run, in this order
    c.init_from = ""  # a run, whose parameters and tokenizer are taken (skips sft), or a Hugging Face checkpoint

    c.profile = ""  # steps of training to profile, as in rl:10-12
    c.wandb = ""  # project of Weights & Biases that metrics go to as well (extra [wandb]); empty: none
    c.checkpoints = ""  # directory or bucket (gs://) that all hosts see; empty: in the workdir

    c.problems = ConfigDict()
    c.problems.families = ("accumulate", "extremum")  # of problems/generator
    c.problems.n_train = 3000  # problems
    c.problems.n_heldout = 320  # problems whose compositions are never trained on
    c.problems.n_unseen = 100  # problems that join parts never seen together in training
    c.problems.open_share = 0.3  # of the statements leave one part to be inferred from the examples (at most a third)
    c.problems.n_public = 3  # tests that the solver sees (paper: 1 to 4)
    c.problems.n_private = 10  # tests that only judge; right is what passes these and the public ones
    c.problems.public_size = (3, 4)  # numbers, words, digits or letters in a public test's input, from and to
    c.problems.private_size = (2, 6)  # the same for private tests
    c.problems.largest_number = 30  # in an input; negative ones go to a third of it
    c.problems.largest_constant = 100  # of a part; 100 leaves none out
    c.problems.names = 3  # spellings of each name in a program; 1: every program has the same names
    c.problems.time_limit_s = 2.0  # seconds of CPU that a program may take on a test
    c.problems.n_solutions = 2  # differently written reference programs a problem
    c.problems.n_wrong = 2  # near misses a problem
    c.problems.real_data = "../shared/data"  # where real data is looked for; SELFEXEC_DATA overrides it

    c.problems.keep_out = ("codecontests_test_165.jsonl",)  # evaluation problems there beside those of the benchmarks
    c.problems.near_duplicate = 0.5  # share of runs of 13 words (Jaccard) that makes two texts near duplicates

    c.sandbox = ConfigDict()
    c.sandbox.workers = 2  # zygotes; each runs one program at a time
    c.sandbox.min_tier = "uid_chroot"  # weakest isolation accepted (README, "Running programs nobody trusts")
    c.sandbox.cpu_s = 1.0  # seconds of CPU of a traced run (a judged one has its problem's limits)
    c.sandbox.wall_s = 10.0  # seconds on the clock of a traced run
    c.sandbox.memory_mb = 256  # MiB of a traced run
    c.sandbox.stdout_bytes = 65536  # bytes that a traced run may write

    c.tasks = ConfigDict()
    c.tasks.template = "paper"  # paper | compact | numbered (compact, and the words of an input with their places)
    c.tasks.style = "full"  # narration: full | brief | compact | changes | numbered | cwm (frames) | direct (none)
    c.tasks.feedback = "output"  # what a fix turn is told of a failing test besides: output | departure | narration
    c.tasks.chunk_chars = 0  # characters after which a narration goes on in another piece, from its state (0: none)
    c.tasks.max_chunks = 32  # pieces that one simulation may have then
    c.tasks.outcomes = False  # also predict how runs without output end: with which type of exception, or a timeout
    c.tasks.most_rounds = 100  # of a loop: of a run that times out only that it takes more than these is told ...
    c.tasks.told_rounds = 2  # ... after this many rounds of the loop that takes too long

    c.text = ConfigDict()
    c.text.vocab_size = 768  # pieces, 256 bytes among them

    c.model = ConfigDict()  # as in model/config.py
    c.model.d_model = 128
    c.model.n_layers = 4
    c.model.n_heads = 2
    c.model.n_kv_heads = 1
    c.model.head_dim = 64
    c.model.d_ff = 384
    c.model.rope_base = 10_000.0
    c.model.rope_scale = 1.0  # positions are divided by it (paper: 2 for Qwen)
    c.model.norm_eps = 1e-6
    c.model.attention = "xla"  # of training and prefill: xla | splash (the kernel of TPUs; rows of multiples of 128)
    c.model.query_block = 64  # queries a block of training attention
    c.model.scan_layers = False  # compile layers once and scan them (deep models)
    c.model.remat = "none"  # computed again in the backward pass: none | layer | all but matmuls
    c.model.vocab_chunk = 0  # vocabulary entries whose logits the loss computes at a time (0: all)
    c.model.lora_rank = 0  # train adapters of this rank on the layers' projections and nothing else (0: train all)
    c.model.lora_alpha = 16.0  # adapters count lora_alpha / lora_rank
    c.model.compute_dtype = "float32"  # of activations; parameters and optimizer stay float32

    c.mesh = ConfigDict()
    c.mesh.cpu_devices = 2  # on a CPU, make so many devices and shard the batch over them (0: one)
    c.mesh.fsdp = 1  # ways to shard parameters
    c.mesh.context = 1  # ways to divide the tokens of a row, and parameters as well
    c.mesh.tensor = 1  # ways to shard heads and hidden units; the rest of the devices is data
    # Of the compiler of TPUs, in LIBTPU_INIT_ARGS unless that is set. Without this one it splits a product over sharded
    # weights into a round for every chip, and on v6e reads and writes its partial sums in each.
    c.mesh.tpu_flags = "--xla_jf_spmd_threshold_for_windowed_einsum_mib=1000000"

    c.hosts = ConfigDict()  # where a run has several
    c.hosts.join_s = 600.0  # seconds that they wait for each other at the start
    c.hosts.lost_s = 30.0  # seconds of silence after which one is taken for gone
    c.hosts.beat_s = 10.0  # seconds between heartbeat files

    c.plan = ConfigDict()  # what tools.plan cannot know beforehand
    c.plan.shape = ""  # of configs/shapes.py, where no init_from says it
    c.plan.example_tokens = 2048  # of a packed example in SFT, mean: attention within it counts as work
    c.plan.long_share = 0.1  # share of the trained tokens, in SFT and RL, whose examples are too long for short rows
    c.plan.prompt_tokens = 1024  # of a prompt in RL and evaluation, mean
    c.plan.answer_tokens = 2048  # of an answer there, mean
    c.plan.headroom = 0.1  # share of a chip's memory that is to stay free

    c.sft = ConfigDict()
    c.sft.steps = 1000  # updates
    c.sft.batch_rows = 32  # packed rows an update
    c.sft.row_tokens = 256  # tokens a packed row
    c.sft.short_row_tokens = 0  # tokens of shorter rows for the examples that fit (0: one length): attention costs less
    c.sft.mix = ConfigDict({"predict": 0.5, "solve": 0.3, "fix": 0.2, "propose": 0.0})  # share of the examples
    c.sft.sources = ()  # more data: ((file or folder, share as in mix, openmath | opencode | narrated), ...)
    c.sft.narrated_tests = 3  # traced runs of a right program a training problem
    c.sft.narrated_size = 4  # longest input, in numbers, that is narrated; longer ones are left to RL
    c.sft.learn_traps = False  # also learn solutions that crash or take too long, as data with weak tests has them
    c.sft.left_to_rl = ("range(",)  # programs that hold one of these are not narrated: RL has only their outcomes
    c.sft.micro_batches = 1  # parts that a batch goes through the model in, to save memory
    c.sft.optimizer = "adamw"  # adamw | adafactor (little memory) | muon (on the layers' matrices, Adam on the rest)
    c.sft.learning_rate = 2e-3  # peak, of AdamW and Adafactor; muon: of what Adam trains
    c.sft.matrix_learning_rate = 0.02  # peak, of Muon
    c.sft.warmup_steps = 50  # updates, from a rate of 0 in the first
    c.sft.final_lr_share = 0.02  # cosine decay ends at this share of the peak
    c.sft.weight_decay = 0.01  # of all but norms and biases; muon: of those that it trains; adafactor: none
    c.sft.beta2 = 0.98
    c.sft.grad_clip = 1.0  # global norm
    c.sft.checkpoint_every = 200  # updates
    c.sft.checkpoints_kept = 2  # the newest; a damaged one is passed over for the one before
    c.sft.log_every = 20  # updates

    c.rl = ConfigDict()
    c.rl.steps = 20  # batches
    c.rl.share = ConfigDict({"predict": 0.5, "solve": 0.25, "rlef": 0.25})  # of the prompts of a batch
    c.rl.weight = ConfigDict({"predict": 0.8, "solve": 1.0, "rlef": 1.0})  # on the advantage (paper: 0.8)
    c.rl.prompts = 32  # groups a batch
    c.rl.group_size = 8  # rollouts a prompt (paper)
    c.rl.max_new_tokens = 320  # tokens an answer; also the fixed length that the loss is divided by
    c.rl.temperature = 1.0  # of sampling and of all log-probabilities
    c.rl.staleness = 0  # updates by which the policy that samples is behind, exactly (paper: at most 8)
    c.rl.updates = 1  # optimizer steps a batch, each on its own part of it

    c.rl.advantage = "mean"  # mean (paper) | mean_std (GRPO) | leave_one_out (RLOO) | batch (REINFORCE++)
    c.rl.objective = "clipped"  # clipped (paper) | sequence_clipped (GSPO) | policy_gradient
    c.rl.normaliser = "fixed"  # of the loss: fixed (paper: rollouts x max_new_tokens) | token (DAPO) | sequence (GRPO)
    c.rl.clip_low = 0.2  # ratio below 1 - this gains nothing (paper)
    c.rl.clip_high = 0.25  # ratio above 1 + this gains nothing (paper)
    c.rl.importance_cap = 0.0  # most that a token's weight against the sampler may be (0: no weights)
    c.rl.kl = 0.0  # weight of the divergence from the policy before RL (paper: none)
    c.rl.entropy_bonus = 0.0  # weight of the entropy, nats
    c.rl.zero_advantage_filter = True  # leave out rollouts without advantage (paper)
    c.rl.optimizer = "adamw"  # adamw | adafactor
    c.rl.learning_rate = 1e-4  # after warm-up
    c.rl.warmup_steps = 2  # updates
    c.rl.final_lr_share = 1.0  # of the learning rate, to which it falls, update by update (paper: constant)
    c.rl.grad_clip = 0.1  # global norm (paper)
    c.rl.beta2 = 0.95

    c.rl.reward_right = 1.0  # (paper)
    c.rl.reward_wrong = -1.0  # (paper)
    c.rl.reward_unreadable = -1.0  # an answer without a program or an output that can be read (paper: as a wrong one)
    c.rl.overlong = "punish"  # answers that were cut off: punish, as wrong (paper) | mask
    c.rl.gibberish_repeats = 0.8  # an answer is masked if more than this share of its runs of 8 tokens are repeats
    c.rl.gibberish_nats = 3.0  # an answer is masked if the mean negative log-probability of its tokens exceeds this
    c.rl.fixes = 1  # fix turns of a Self-RLEF episode (paper)
    c.rl.feedback = "real"  # of the episodes: real (paper) | simulated | random, a control
    c.rl.feedback_end = "real"  # the kind at the end; its share of the episodes grows from none to all
    c.rl.credit = "answer"  # blame for a wrong simulation: answer (all of it) | first_wrong (from the first wrong line)
    c.rl.claims_share = 0.0  # of a simulation's reward (< 1/2), for what it tells right before its first false line
    c.rl.wrong_programs = True  # predict outputs of wrong programs too (paper: right ones only)
    c.rl.recycled = 0.0  # share of the outputs to predict that are those of programs that just failed
    c.rl.recycled_kept = 1000  # of their runs on public tests, the newest
    c.rl.solve_rates = (0.1, 0.7)  # prompts whose solve rate lies outside come last; (0, 1): all alike (paper: CWM)

    c.rl.problems = 600  # training problems whose programs, the model's own among them, RL works on
    c.rl.own_programs = 4  # of the model for each problem, before RL: to simulate, and to estimate its solve rate
    c.rl.long_inputs = 2  # longer inputs that RL predicts each program on
    c.rl.long_size = 5  # fewest numbers in these longer inputs (SFT narrated up to narrated_size)
    c.rl.row_tokens = 448  # tokens a packed row of the update; at least the longest prompt and answer
    c.rl.short_row_tokens = 0  # tokens of shorter rows for what fits (0: one length): attention costs less
    c.rl.micro_tokens = 7168  # tokens of a micro-batch, in packed rows
    c.rl.checkpoint_every = 10  # batches
    c.rl.checkpoints_kept = 2  # the newest, beside the best
    c.rl.samples_kept = 8  # groups a batch that are written to samples/
    c.rl.validate_every = 0  # batches (0: never; paper: 200)
    c.rl.validation_prompts = 64  # outputs to predict and problems to solve, half and half, which RL never trains on
    c.rl.validation_samples = 4  # rollouts each
    c.rl.keep = "last"  # parameters that are evaluated: last | best on the validation prompts (paper: Qwen)
    c.rl.health_window = 5  # batches over which what follows is averaged
    c.rl.stop_entropy_share = 0.02  # of the first batches' entropy: training stops below it (0: never; likewise below)
    c.rl.stop_length_share = 0.1  # of the first batches' answers in tokens
    c.rl.stop_reward_drop = 0.8  # from the best batches' reward
    c.rl.stop_infra_share = 0.5  # of a task's rollouts that the sandbox could not judge, every batch of the window

    c.rollout = ConfigDict()
    c.rollout.slots = 64  # sequences decoded at once on a host
    c.rollout.cache_length = 512  # tokens a slot: prompt and answer
    c.rollout.short_slots = ()  # (how many, tokens each) of shorter slots; what outgrows one moves to a longer
    c.rollout.prompt_buckets = (64, 96, 128, 160, 192, 256, 384)  # lengths that prompts and caches are padded to
    c.rollout.prefill_tokens = 1024  # prompts x their bucket that are prefilled at once
    c.rollout.steps_per_dispatch = 16  # decoding steps before control returns to the host, at most
    c.rollout.tensor = 1  # devices that share a sequence, heads and weights sharded (v5e, v6e: 1 on several hosts)
    c.rollout.int8_cache = False  # keys and values in 8 bits: half the memory, log-probabilities a little off

    c.belief = ConfigDict()  # in simulated runs, fitted before the evaluation, which then searches by it
    c.belief.problems = 0  # validation problems, like held-out ones, on which belief alone is fitted (0: no belief)
    c.belief.candidates = 8  # programs a validation problem
    c.belief.votes = 3  # simulations a test there
    c.belief.first = 2  # programs that a search begins with; it doubles them up to eval.candidates
    c.belief.search_votes = 2  # simulations of a test that it makes at most
    c.belief.sure = 0.9  # probability of being right at which a search ends
    c.belief.abstain = 0.0  # probability of being right below which a search submits nothing
    c.belief.fails = 0.5  # of simulated failures a fix turn is told those that are at least so probable
    c.belief.least_gains = (0.1, 0.05, 0.02, 0.01, 0.005, 0.0)  # in the chance to solve, for which to execute

    c.eval = ConfigDict()
    c.eval.candidates = 8  # programs a problem (K)
    c.eval.more_candidates = 0  # further programs a problem, not simulated: for short1@k' at equal tokens
    c.eval.votes = 1  # simulations a test (paper: 5)
    c.eval.chunk_votes = 1  # answers a piece of a simulation (tasks.chunk_chars), to go on with what most say
    c.eval.temperature = 1.0  # of candidates, fix turns and proposed inputs (paper)
    c.eval.top_p = 0.95  # (paper)
    c.eval.simulate_temperature = 1.0  # of simulations; 0: greedy
    c.eval.own_tests = 0  # inputs that the model proposes a problem, for its candidates to vote on their outputs
    c.eval.max_fixes = 3  # fix turns of Self-RLEF (paper: 9)
    c.eval.episodes = 1  # of Self-RLEF a problem, from each of its first programs; figures are their mean
    c.eval.prediction_samples = 4  # answers, at temperature 1, for each output of a kind that SFT did not narrate
    c.eval.max_new_tokens = 256
    c.eval.bootstrap = 10_000  # resamples
    c.eval.benchmark = ""  # of problems/benchmarks.py, instead of the generated problems
    c.eval.benchmark_data = ""  # its file or folder (empty: where real data is, else the hub)
    c.eval.endpoint = ""  # evaluate a model behind this OpenAI-compatible URL instead of the run's own
    c.eval.endpoint_model = ""  # its name there
    c.eval.endpoint_at_once = 16  # requests under way
    return c.lock()
