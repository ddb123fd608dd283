"""One DDPG update in NumPy float64, derived by hand from the paper without any of swingup's code."""

import numpy as np


def forward(layers, x, action=None, joins=None):
    """The last layer's output before any squashing, and what the backward pass needs."""
    kept, h = [], x
    for i, layer in enumerate(layers):
        z = h @ layer["w"] + layer["b"]
        if action is not None and i == joins:
            z = z + action @ layer["a"]
        kept.append((h, z))
        h = np.where(z > 0, z, 0) if i < len(layers) - 1 else z
    return h, kept


def backward(layers, kept, grad, action=None, joins=None):
    """Gradients of every array, and with respect to the action, from d loss / d output."""
    grads, to_action = [None] * len(layers), None
    for i in reversed(range(len(layers))):
        h, z = kept[i]
        if i < len(layers) - 1:
            grad = grad * (z > 0)
        grads[i] = {"w": h.T @ grad, "b": grad.sum(0)}
        if action is not None and i == joins:
            grads[i]["a"] = action.T @ grad
            to_action = grad @ layers[i]["a"].T
        grad = grad @ layers[i]["w"].T
    return grads, to_action


class Adam:
    """Kingma and Ba, algorithm 1."""

    def __init__(self, layers, rate):
        self.rate, self.t = rate, 0
        self.m = [{k: np.zeros_like(v) for k, v in layer.items()} for layer in layers]
        self.v = [{k: np.zeros_like(v) for k, v in layer.items()} for layer in layers]

    def step(self, layers, grads):
        self.t += 1
        for i, layer in enumerate(layers):
            for k in layer:
                self.m[i][k] = 0.9 * self.m[i][k] + 0.1 * grads[i][k]
                self.v[i][k] = 0.999 * self.v[i][k] + 0.001 * grads[i][k] ** 2
                m, v = self.m[i][k] / (1 - 0.9**self.t), self.v[i][k] / (1 - 0.999**self.t)
                layer[k] = layer[k] - self.rate * m / (np.sqrt(v) + 1e-8)


class Reference:
    """Networks, targets and optimisers; `update` is algorithm 1 of the paper, lines 12 to 15."""

    def __init__(self, actor, critic, joins, actor_lr, critic_lr, gamma, tau):
        self.actor, self.critic = copy(actor), copy(critic)
        self.target_actor, self.target_critic = copy(actor), copy(critic)
        self.actor_opt, self.critic_opt = Adam(self.actor, actor_lr), Adam(self.critic, critic_lr)
        self.joins, self.gamma, self.tau = joins, gamma, tau

    def update(self, obs, action, reward, alive, next_obs):
        n = len(obs)
        next_action = np.tanh(forward(self.target_actor, next_obs)[0])
        next_q = forward(self.target_critic, next_obs, next_action, self.joins)[0][:, 0]
        target = reward + self.gamma * alive * next_q

        q, kept = forward(self.critic, obs, action, self.joins)
        grads, _ = backward(self.critic, kept, (2 / n) * (q - target[:, None]), action, self.joins)
        self.critic_opt.step(self.critic, grads)

        pre, actor_kept = forward(self.actor, obs)
        mu = np.tanh(pre)
        _, kept = forward(self.critic, obs, mu, self.joins)
        _, dq_da = backward(self.critic, kept, np.full((n, 1), 1 / n), mu, self.joins)
        grads, _ = backward(self.actor, actor_kept, -dq_da * (1 - mu**2))
        self.actor_opt.step(self.actor, grads)

        for target_net, net in ((self.target_actor, self.actor), (self.target_critic, self.critic)):
            for slow, fast in zip(target_net, net, strict=True):
                for k in slow:
                    slow[k] = (1 - self.tau) * slow[k] + self.tau * fast[k]


def copy(layers):
    return [{k: np.array(v, np.float64) for k, v in layer.items()} for layer in layers]
