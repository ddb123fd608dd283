"""Vector environments of Gymnasium and like Stable-Baselines3's: the rows of the environments inside."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import swingup
from swingup.sb3.vector_input import from_vector

SMALL = {"learning_starts": 10, "batch_size": 8, "buffer_size": 500, "hidden": (8, 8)}


class Short(gymnasium.Env):
    """Observation: a number by seed, step, last action; by it ends after 4 steps or is cut after 6."""

    def __init__(self):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.render_mode = None

    def observe(self, action=0.0):
        return np.array([self.first, self.t, action], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.first, self.t = float(self.np_random.random()), 0
        return self.observe(), {}

    def step(self, action):
        self.t += 1
        low = self.first < 0.5
        return self.observe(action[0]), float(action[0]), low and self.t == 4, not low and self.t == 6, {}


class StableVectorEnv:
    """The interface of Stable-Baselines3's SubprocVecEnv, in this process: no `envs` to be seen."""

    def __init__(self, makers):
        self.hidden = [make() for make in makers]
        self.num_envs = len(makers)
        self.observation_space, self.action_space = (
            self.hidden[0].observation_space,
            self.hidden[0].action_space,
        )
        self.closed = False

    def reset(self):
        return np.stack([env.reset()[0] for env in self.hidden])

    def step_async(self, actions):
        self.actions = actions

    def step_wait(self):
        rows = []
        for env, action in zip(self.hidden, self.actions, strict=True):
            obs, reward, terminated, truncated, info = env.step(action)
            info = dict(info, **{"TimeLimit.truncated": truncated and not terminated})
            if terminated or truncated:
                info["terminal_observation"] = obs
                obs, _ = env.reset()
            rows.append((obs, reward, terminated or truncated, info))
        obs, rewards, dones, infos = zip(*rows, strict=True)
        return np.stack(obs), np.array(rewards, np.float32), np.array(dones), list(infos)

    def step(self, actions):
        self.step_async(actions)
        return self.step_wait()

    def env_method(self, name, *args, indices=None, **kwargs):
        return [getattr(self.hidden[i], name)(*args, **kwargs) for i in indices]

    def get_attr(self, name, indices=None):
        return [getattr(self.hidden[i], name) for i in indices or range(self.num_envs)]

    def close(self):
        self.closed = True


class InThisProcess(StableVectorEnv):
    """The interface of Stable-Baselines3's DummyVecEnv."""

    def __init__(self, makers):
        super().__init__(makers)
        self.envs = self.hidden


class VecMonitor:
    def __init__(self, venv):
        self.venv = venv

    def __getattr__(self, name):
        return getattr(self.venv, name)


class VecNormalize(VecMonitor):
    pass


MAKERS = {
    "sync": lambda: SyncVectorEnv([Short] * 3),
    "async": lambda: AsyncVectorEnv([Short] * 3, context="fork"),
    "same step": lambda: AsyncVectorEnv([Short] * 3, context="fork", autoreset_mode=AutoresetMode.SAME_STEP),
    "disabled": lambda: AsyncVectorEnv([Short] * 3, context="fork", autoreset_mode=AutoresetMode.DISABLED),
    "subprocesses": lambda: StableVectorEnv([Short] * 3),
    "in this process": lambda: InThisProcess([Short] * 3),
    "watched": lambda: VecMonitor(InThisProcess([Short] * 3)),
}


@pytest.fixture(scope="module")
def expected():
    """Replay's rows of a model whose environments are no vector environment."""
    return swingup.DDPG("MlpPolicy", Short, n_envs=3, **SMALL).learn(60).replay_buffer.rows()


@pytest.mark.filterwarnings("ignore:.*fork.*")
@pytest.mark.parametrize("kind", MAKERS)
def test_the_rows_are_those_of_the_environments_themselves(kind, expected):
    given = MAKERS[kind]()
    model = swingup.DDPG("MlpPolicy", given, **SMALL).learn(60)
    assert model.n_envs == 3
    assert model.replay_buffer.rows().tobytes() == expected.tobytes()
    assert model.get_env() is given
    given.close()


def test_an_episode_is_repeated_through_their_calls():
    env = from_vector(StableVectorEnv([Short] * 2))
    actions = np.full((3, 1), 0.5, np.float32)
    again = env.restore_episode(1, 5, actions)
    direct = Short()
    first, _ = direct.reset(seed=5)
    np.testing.assert_array_equal(again.obs[0], first)
    np.testing.assert_array_equal(again.obs[3], direct.observe() * 0 + [first[0], 3, 1.0])
    env.close()
    assert env.whole.closed


def test_wrappers_that_change_what_is_seen_are_named_with_our_word():
    with pytest.raises(swingup.InputError, match=r"VecNormalize: .* normalize=True"):
        swingup.TD3("MlpPolicy", VecNormalize(InThisProcess([Short])))
    with pytest.raises(swingup.InputError, match="leave n_envs out"):
        swingup.TD3("MlpPolicy", InThisProcess([Short]), n_envs=2)


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_one_that_would_reset_twice_is_refused_with_the_way_out():
    made = AsyncVectorEnv([Short], shared_memory=False, context="fork")
    with pytest.raises(swingup.InputError, match="mode=AutoresetMode"):
        swingup.TD3("MlpPolicy", made)
    made.close()
