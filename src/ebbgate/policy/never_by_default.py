"""Hosts that nobody should allow without having thought about it: whoever can reach them can hand data to anybody.

Each is a host suffix (the host and everything below it) with the reason. ``ebbgate learn`` refuses to learn them, ``ebbgate
check`` names entries that allow them. An entry that a person writes is taken as meant.
"""

from __future__ import annotations

from collections.abc import Mapping

_HOSTS: tuple[tuple[str, str], ...] = (
    (
        "a paste site: anybody reads what anybody posts",
        """
        pastebin.com paste.ee hastebin.com dpaste.com dpaste.org ghostbin.com rentry.co rentry.org paste.rs ix.io sprunge.us
        termbin.com controlc.com justpaste.it privatebin.net paste.debian.net paste.mozilla.org bpa.st pastes.dev paste.gg
        0bin.net cl1p.net textbin.net telegra.ph write.as notes.io
        """,
    ),
    (
        "anybody's snippets, writable with any account's token",
        """
        gist.github.com
        """,
    ),
    (
        "what anybody has put into a snippet",
        """
        gist.githubusercontent.com
        """,
    ),
    (
        "takes files from anybody without an account",
        """
        transfer.sh file.io 0x0.st catbox.moe litterbox.catbox.moe gofile.io temp.sh oshi.at bashupload.com anonfiles.com
        tmpfiles.org uguu.se pixeldrain.com wetransfer.com send.vis.ee filebin.net keep.sh ufile.io mega.nz mega.co.nz
        filetransfer.io free.keep.sh envs.sh x0.at ttm.sh
        """,
    ),
    (
        "shows every request it gets to whoever made the address",
        """
        webhook.site webhook.cool requestbin.com requestbin.net pipedream.net requestcatcher.com beeceptor.com hookbin.com
        hookdeck.com smee.io ptsv2.com ptsv3.com typedwebhook.tools webhookrelay.com requestinspector.com postb.in mockbin.org
        mockbin.io request-baskets.com rbaskets.in httpdump.app free.beeceptor.com hook.eu1.make.com hooks.zapier.com ntfy.sh
        httpbin.org httpbingo.org postman-echo.com
        """,
    ),
    (
        "a tunnel: the name leads to anybody's own machine",
        """
        ngrok.io ngrok.app ngrok.dev ngrok-free.app ngrok-free.dev trycloudflare.com loca.lt localtunnel.me localhost.run
        lhr.life lhr.rocks serveo.net serveousercontent.com pagekite.me bore.pub telebit.io tunnelto.dev playit.gg portmap.io
        pinggy.io pinggy.link zrok.io devtunnels.ms tunnelmole.net ts.net loophole.site tmate.io packetriot.net expose.dev
        sharedwithexpose.com
        """,
    ),
    (
        "records names and requests for whoever probes",
        """
        oast.pro oast.live oast.site oast.online oast.fun oast.me interact.sh interactsh.com burpcollaborator.net oastify.com
        dnslog.cn ceye.io canarytokens.com dnsbin.zhack.ca requestrepo.com bxss.me xss.report xss.ht ezxss.com pingb.in r87.me
        """,
    ),
    (
        "resolves names over HTTPS, past the guard's own resolver: data can leave in the questions",
        """
        dns.google dns.google.com dns64.dns.google cloudflare-dns.com one.one.one.one 1dot1dot1dot1.cloudflare-dns.com
        mozilla.cloudflare-dns.com chrome.cloudflare-dns.com cloudflare-gateway.com dns.quad9.net dns9.quad9.net
        dns10.quad9.net dns11.quad9.net doh.opendns.com doh.familyshield.opendns.com doh.umbrella.com dns.adguard.com
        dns.adguard-dns.com dns.nextdns.io doh.cleanbrowsing.org doh.mullvad.net dns.mullvad.net doh.dns.sb dns.sb doh.pub
        dns.pub dns.alidns.com doh.360.cn dns.switch.ch doh.xfinity.com doh.libredns.gr dns.digitale-gesellschaft.ch
        freedns.controld.com dns.controld.com dns.twnic.tw odoh.cloudflare-dns.com doh.tiar.app doh.li dnsforge.de dns0.eu
        dns.njal.la wikimedia-dns.org 1.1.1.1 1.0.0.1 8.8.8.8 8.8.4.4 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220
        94.140.14.14 94.140.15.15 2606:4700:4700::1111 2606:4700:4700::1001 2001:4860:4860::8888 2001:4860:4860::8844
        2620:fe::fe
        """,
    ),
    (
        "a webhook of a chat service takes messages for anybody's channel",
        """
        discord.com discordapp.com hooks.slack.com api.telegram.org webhook.office.com chat.googleapis.com open.feishu.cn
        oapi.dingtalk.com qyapi.weixin.qq.com
        """,
    ),
    (
        "runs anybody's own code under a name of their choice",
        """
        workers.dev pages.dev vercel.app netlify.app herokuapp.com onrender.com fly.dev railway.app up.railway.app repl.co
        replit.app replit.dev glitch.me deno.dev val.run web.val.run surge.sh web.app firebaseapp.com firebaseio.com run.app
        cloudfunctions.net azurewebsites.net azurestaticapps.net ondigitalocean.app on.aws script.google.com
        script.googleusercontent.com forms.gle supabase.co koyeb.app modal.run hf.space gitpod.io github.dev csb.app
        stackblitz.io webcontainer.io
        """,
    ),
    (
        "redirects to wherever its maker says",
        """
        bit.ly tinyurl.com t.ly is.gd v.gd cutt.ly rebrand.ly shorturl.at goo.gl
        """,
    ),
    (
        "a way into an anonymous network",
        """
        onion.ws onion.ly onion.to onion.pet tor2web.org
        """,
    ),
)
# Suffix to reason.
NEVER_BY_DEFAULT: Mapping[str, str] = {host: reason for reason, hosts in _HOSTS for host in hosts.split()}


def never_by_default(host: str) -> str:
    """Why a canonical host is allowed by a person's own entry only; "" when nothing speaks against it."""
    suffix = host
    while suffix:
        if suffix in NEVER_BY_DEFAULT:
            return NEVER_BY_DEFAULT[suffix]
        suffix = suffix.partition(".")[2]
    return ""
