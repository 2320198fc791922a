// Video and windows by OpenCV, which has no C interface any more.  Its exceptions end here, as a status and one line.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

#include <unistd.h>

#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/highgui.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

extern "C" {
#include "vision/video.h"
}

struct video {
    cv::VideoCapture capture;
    cv::Mat frame;
    std::string source;
};
struct video_writer {
    cv::VideoWriter writer;
    cv::Mat frame;
    std::string path;
};

namespace {

enum status failed(struct ctx *ctx, const char *what, const std::exception &e) {
    std::string text = e.what(); // of several lines
    for (char &c : text)
        if (c == '\n') c = ' ';
    return ctx_fail(ctx, ST_IO, "%s: OpenCV says: %s", what, text.c_str());
}

// A view of the picture's memory, converted to OpenCV's order of colours.
void to_bgr(const struct pixels *px, cv::Mat &out) {
    cv::Mat in(px->h, px->w, px->c == 1 ? CV_8UC1 : CV_8UC3, px->data);
    cv::cvtColor(in, out, px->c == 1 ? cv::COLOR_GRAY2BGR : cv::COLOR_RGB2BGR);
}

// It tries one library after the other, and each that fails would print a page.
void quiet() {
    if (!std::getenv("OPENCV_LOG_LEVEL")) cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
}

bool is_url(const std::string &s) { return s.find("://") != std::string::npos && s.compare(0, 7, "file://") != 0; }

} // namespace

extern "C" {

bool video_built(void) { return true; }

enum status video_open(struct ctx *ctx, const char *source, struct video **out, struct video_info *info) {
    *out = nullptr;
    try {
        bool camera = std::strncmp(source, "camera:", 7) == 0;
        if (!camera && !std::strstr(source, "://") && access(source, R_OK) != 0)
            return ctx_fail(ctx, ST_IO, "%s: %s", source, std::strerror(errno));
        quiet();
        struct video *v = new struct video;
        v->source = source;
        bool open = camera ? v->capture.open(std::atoi(source + 7)) : v->capture.open(source);
        if (!open) {
            delete v;
            if (camera) return ctx_fail(ctx, ST_IO, "camera %s: cannot be opened; -c N chooses another one", source + 7);
            return ctx_fail(ctx, ST_IO, "%s: cannot be opened as a video", source);
        }
        info->w = (int)v->capture.get(cv::CAP_PROP_FRAME_WIDTH);
        info->h = (int)v->capture.get(cv::CAP_PROP_FRAME_HEIGHT);
        info->fps = v->capture.get(cv::CAP_PROP_FPS);
        if (!(info->fps > 0 && info->fps < 1000)) info->fps = 25;
        info->live = camera || is_url(v->source);
        *out = v;
        return ST_OK;
    } catch (const std::exception &e) {
        return failed(ctx, source, e);
    }
}

enum status video_read(struct ctx *ctx, struct video *v, struct pixels *out, bool *end) {
    try {
        *end = !v->capture.read(v->frame) || v->frame.empty();
        if (*end) return ST_OK;
        if (out->w != v->frame.cols || out->h != v->frame.rows || out->c != 3) {
            pixels_free(out);
            enum status st = pixels_new(ctx, v->frame.cols, v->frame.rows, 3, out);
            if (st != ST_OK) return st;
        }
        cv::Mat to(out->h, out->w, CV_8UC3, out->data);
        cv::cvtColor(v->frame, to, v->frame.channels() == 1 ? cv::COLOR_GRAY2RGB : v->frame.channels() == 4 ? cv::COLOR_BGRA2RGB : cv::COLOR_BGR2RGB);
        return ST_OK;
    } catch (const std::exception &e) {
        return failed(ctx, v->source.c_str(), e);
    }
}

void video_close(struct video *v) { delete v; }

enum status video_create(struct ctx *ctx, const char *path, double fps, int w, int h, struct video_writer **out) {
    *out = nullptr;
    try {
        quiet();
        struct video_writer *v = new struct video_writer;
        v->path = path;
        std::size_t dot = v->path.rfind('.');
        std::string kind = dot == std::string::npos ? "" : v->path.substr(dot);
        int code = kind == ".mp4" || kind == ".mov" ? cv::VideoWriter::fourcc('m', 'p', '4', 'v') : cv::VideoWriter::fourcc('D', 'I', 'V', 'X');
        if (!v->writer.open(path, code, fps, cv::Size(w, h))) {
            delete v;
            return ctx_fail(ctx, ST_IO, "%s: no video can be written there; the folder must exist, and the extension name a container, e.g. .avi or .mp4", path);
        }
        *out = v;
        return ST_OK;
    } catch (const std::exception &e) {
        return failed(ctx, path, e);
    }
}

enum status video_add(struct ctx *ctx, struct video_writer *v, const struct pixels *px) {
    try {
        to_bgr(px, v->frame);
        v->writer.write(v->frame);
        return ST_OK;
    } catch (const std::exception &e) {
        return failed(ctx, v->path.c_str(), e);
    }
}

void video_finish(struct video_writer *v) { delete v; }

enum status window_show(struct ctx *ctx, const char *name, const struct pixels *px, int w, int h) {
    // Some of OpenCV's window systems end the program where there is no screen.
    if (!std::getenv("DISPLAY") && !std::getenv("WAYLAND_DISPLAY"))
        return ctx_fail(ctx, ST_UNSUPPORTED, "no window can be shown: neither DISPLAY nor WAYLAND_DISPLAY is set; -dont_show goes without");
    try {
        cv::Mat bgr;
        to_bgr(px, bgr);
        cv::namedWindow(name, cv::WINDOW_NORMAL);
        if (cv::getWindowProperty(name, cv::WND_PROP_VISIBLE) < 1 || w < 0) cv::resizeWindow(name, w > 0 ? w : px->w, h > 0 ? h : px->h);
        cv::imshow(name, bgr);
        return ST_OK;
    } catch (const std::exception &e) {
        return failed(ctx, "no window can be shown", e);
    }
}

int window_key(int milliseconds) {
    try {
        int key = cv::waitKey(milliseconds);
        return key < 0 ? -1 : key & 0xff;
    } catch (const std::exception &) {
        return -1;
    }
}

void window_close_all(void) {
    try {
        cv::destroyAllWindows();
    } catch (const std::exception &) {
    }
}

} // extern "C"
